"""Reading YAML and JSON configuration files strictly, and ``key=value`` words.

YAML 1.2's rules for plain values: ``5e-5`` is a number and ``no`` a word. Duplicate keys, anchors, aliases and tags
are refused with file and line. ``${NAME}`` is taken from the environment; ``$${NAME}`` stands for itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from aligntune_core.config.read.layers import Layer
from aligntune_core.errors import ConfigError
from aligntune_core.wording import a_type

_ENV = re.compile(r"\$(\$?)\{(\w+)\}")
_OTHER_ENV = re.compile(r"(?<!\$)\$\{\w+:[-=?+][^}]*\}")  # defaults and the like, as shells have them


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars, and without duplicate keys, anchors, aliases, tags and merge keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refused("anchors and aliases are not allowed: write the value out", event)
        if getattr(event, "tag", None):
            raise _refused(f"tags are not allowed: remove {event.tag}", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(f"keys are words, not {key!r}", key_node)
            if key in seen:
                raise _refused(f'"{key}" is given twice, first in line {seen[key]}', key_node)
            seen[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _refused(text: str, at: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, at.start_mark)


def _number(loader: _Loader, node: Any) -> int:
    return int(node.value, 0) if re.match(r"[-+]?0[xo]", node.value) else int(node.value)


_DIGITS = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)"
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", rf"{_DIGITS}([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
):
    _initials = [*_first, ""] if _tag == "null" else list(_first)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _initials)
_Loader.add_constructor("tag:yaml.org,2002:int", _number)


def read_file(path: Path, source: str) -> Layer:
    """Read a configuration file: ``.json`` as JSON, everything else as YAML; of an ``aligntune.json`` the key "config".

    Raises:
        ConfigError: unreadable, not a mapping, or something that is refused; says file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot be read: {reason}", where=str(path)) from error
    if path.suffix == ".json":
        data = _read_json(text, path)
        if not isinstance(data.get("config"), dict):
            return Layer(_with_environment(data, str(path), {}), source)
        values = _with_environment(data["config"], str(path), {})
        return Layer(values, source, manifest=True, sources=data.get("sources") or {})
    data, lines = _read_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"holds {a_type(data)}; it must hold keywords: model_name: ...", where=str(path))
    return Layer(_with_environment(data, str(path), lines), source, lines)


def parse_words(words: Iterable[str]) -> dict[str, Any]:
    """``["learning_rate=5e-5", "optim.batch_size=4"]`` as a mapping; values are YAML.

    Raises:
        ConfigError: a word without "=", a key given twice, a value that is no YAML, or a variable that is not set.
    """
    data: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f'"{word}" is not key=value, e.g. learning_rate=5e-5')
        if key.strip() in data:
            raise ConfigError(f'"{key.strip()}" is given twice')
        data[key.strip()] = _read_yaml(text, word)[0]
    return _with_environment(data, "command line", {})


def _read_json(text: str, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ConfigError(f'"{twice}" is given twice', where=str(path))
        return dict(pairs)

    try:
        data = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ConfigError(f"is no JSON: {error.msg}", where=f"{path}:{error.lineno}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"holds {a_type(data)}; it must hold keywords", where=str(path))
    return data


def _read_yaml(text: str, name: str) -> tuple[Any, dict[str, int]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(str(error.problem or error.context), where=place) from error
    except yaml.YAMLError as error:
        raise ConfigError(str(error), where=name) from error
    finally:
        loader.dispose()
    return data, dict(_lines(node, ""))


def _lines(node: Any, prefix: str) -> Iterable[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted = f"{prefix}{key.value}"
            yield dotted, key.start_mark.line + 1
            yield from _lines(value, f"{dotted}.")


def _with_environment(data: dict[str, Any], name: str, lines: Mapping[str, int]) -> dict[str, Any]:
    problems: list[str] = []

    def filled(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {k: filled(v, f"{key}.{k}" if key else k) for k, v in value.items()}
        if isinstance(value, list):
            return [filled(v, key) for v in value]
        if not isinstance(value, str):
            return value
        if other := _OTHER_ENV.search(value):
            problems.append(
                f"{key}: {other[0]} is not understood; write ${{NAME}}, or $${{...}} for the text itself"
            )
            return value
        return _ENV.sub(lambda match: one(match, key), value)

    def one(match: re.Match[str], key: str) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in os.environ:
            line = f" (line {lines[key]})" if key in lines else ""
            problems.append(
                f"{key}{line}: the environment variable {match[2]} is not set: export {match[2]}=..."
            )
        return os.environ.get(match[2], "")

    result: dict[str, Any] = filled(data, "")
    if problems:
        raise ConfigError(problems, where=name)
    return result
