"""A configuration file of another tool: its keys, and the line that each stands in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aligntune_core.errors import ConfigError
from aligntune_core.wording import a_type


class _Loader(yaml.SafeLoader):
    """YAML as the other tools read it, but that 1e-4 is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class Source:
    """What a file holds, and the line of each key; of a key within a section as "section.key"."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """The file, and the line of a key where there is one."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else str(self.path)


def read(path: Path) -> Source:
    """Read a YAML or JSON file.

    Raises:
        ConfigError: it cannot be read, is no YAML or JSON, or holds no mapping; says file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(path)
        ) from error
    values, lines = _parsed_json(text, path) if path.suffix == ".json" else _parsed_yaml(text, path)
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"holds {a_type(values)}; it must hold settings by their names", where=str(path))
    return Source(path, {str(key): value for key, value in values.items()}, lines)


def _parsed_json(text: str, path: Path) -> tuple[Any, dict[str, int]]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"is no JSON: {error.msg}", where=f"{path}:{error.lineno}") from error
    try:
        return values, dict(_lines(yaml.compose(text, Loader=_Loader), ""))
    except yaml.YAMLError:  # tabs, for one: then lines are not told
        return values, {}


def _parsed_yaml(text: str, path: Path) -> tuple[Any, dict[str, int]]:
    try:
        return yaml.load(text, Loader=_Loader), dict(_lines(yaml.compose(text, Loader=_Loader), ""))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"is no YAML: {error.problem or error.context}", where=place) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is no YAML: {error}", where=str(path)) from error


def _lines(node: Any, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted = f"{prefix}{key.value}"
            yield dotted, key.start_mark.line + 1
            yield from _lines(value, f"{dotted}.")
