"""The ways in, from a call's keywords or a file to one validated configuration, or one error with every problem."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from aligntune_core.algorithms import Algorithm, find, known
from aligntune_core.config import keywords as kw
from aligntune_core.config.read.files import parse_words, read_file
from aligntune_core.config.read.layers import Layer, Reader, Setting
from aligntune_core.config.resolve.checks import notes, problems
from aligntune_core.config.resolve.defaults import fill
from aligntune_core.config.schema.sections import Config
from aligntune_core.config.values import equal, nested, not_chosen, plain_value
from aligntune_core.errors import ConfigError
from aligntune_core.wording import a_type, listed

_log = logging.getLogger("aligntune.config")
_CALLS = {"sft": "create_sft_trainer", "rl": "create_rl_trainer"}

Source = str | PathLike[str] | Mapping[str, Any] | Config | None


def resolve_config(kind: str | None = None, config: Source = None, **keywords: Any) -> Config:
    """The configuration of a call. Opens no dataset, model or network; paths need not exist.

    Args:
        kind: "sft" or "rl"; None where ``config`` or ``algorithm=`` says it.
        config: YAML or JSON file, a run's ``aligntune.json``, or a mapping; ``keywords`` override it.
        keywords: flat names, sections or dotted paths.

    Raises:
        ConfigError: every problem of the call at once.
    """
    return load_config(config, kind, keywords)


def load_config(
    source: Source, kind: str | None = None, overrides: Iterable[str] | Mapping[str, Any] = ()
) -> Config:
    """The configuration of a file or mapping.

    Args:
        source: as ``config`` of ``resolve_config``.
        kind: "sft" or "rl", where the source does not name its algorithm.
        overrides: ``["learning_rate=5e-5"]``, or a mapping.

    Raises:
        ConfigError: every problem at once, with file and line.
    """
    words = overrides if isinstance(overrides, Mapping) else parse_words(overrides)
    return _built(kind, [*([] if source is None else [_layer(source)]), Layer(words)])


def _layer(source: Source) -> Layer:
    if isinstance(source, Config):
        values = {path: value for path, value in paths(source).items() if value is not None}
        return Layer(values, manifest=True, sources=source.sources)
    if isinstance(source, Mapping):
        inner = source.get("config")
        if isinstance(inner, Mapping):
            return Layer(inner, manifest=True, sources=source.get("sources") or {})
        return Layer(source)
    if isinstance(source, (str, PathLike)):
        return read_file(Path(source).expanduser(), f"file {source}")
    raise ConfigError(f"config is {a_type(source)}; give a path or a dict")


def _built(kind: str | None, layers: list[Layer]) -> Config:
    algorithm = _algorithm(plain_value(kind), layers)
    reader = Reader(algorithm, layers)
    settings = reader.read()
    source = settings["algorithm"].source if "algorithm" in settings else "call"
    settings["algorithm"] = Setting("algorithm", algorithm.name, "algorithm", source)
    faults = reader.problems
    parameters = _parameters(algorithm, settings, faults)
    config = _tree(parameters, settings, faults)
    if config is None or parameters is None:
        raise ConfigError(faults)
    config = fill(config, algorithm, settings)
    faults += problems(config, algorithm, settings)
    if faults:
        raise ConfigError(faults)
    _note_sources(config, settings, reader.manifest)
    chosen = {p: s for p, s in settings.items() if not not_chosen(config.sources.get(p, "call"))}
    for text in notes(config, chosen):
        _log.warning(text)
    return config


def _note_sources(config: Config, settings: Mapping[str, Setting], manifest: Mapping[str, str]) -> None:
    """Note on the configuration where each value came from."""
    for path, value in paths(config).items():
        source = config.sources.get(path, "default")
        if path in settings:
            source = settings[path].source
            before = manifest.get(path)
            # Nobody chose these values of a manifest; one that does not say is judged by the value.
            if before is not None and (
                not_chosen(before) if before else equal(value, default_of(config, path))
            ):
                source = f"{'resolved' if before.startswith('resolved') else 'default'}, as in {source}"
        config.sources[path] = source


def default_of(config: Config, path: str) -> Any:
    """The value that a path would have had if it had not been set."""
    if path in config._defaults:
        return config._defaults[path]
    entry = kw.entry_of(path, find(config.algorithm))
    return entry.info.get_default(call_default_factory=True) if entry else None


def paths(config: Config) -> dict[str, Any]:
    """Config path -> value for every field, those of the algorithm's parameters and of quantization included."""

    def walk(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
        for name in type(section).model_fields:
            value = getattr(section, name)
            if isinstance(value, BaseModel):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    return dict(walk(config, ""))


def _algorithm(kind: str | None, layers: list[Layer]) -> Algorithm:
    if kind not in (None, *_CALLS):
        raise ConfigError(f'there is no kind "{kind}": sft or rl')
    named = [plain_value(layer.data["algorithm"]) for layer in layers if layer.data.get("algorithm")]
    if not named and kind != "sft":
        names = [a.name for a in known().values() if kind in (None, a.kind)]
        raise ConfigError(f"algorithm is missing. Known: {listed(names)}")
    algorithm = find(str(named[-1]) if named else "sft")
    if kind and algorithm.kind != kind:
        raise ConfigError(f"{_CALLS[kind]} does not train {algorithm.name}: use {_CALLS[algorithm.kind]}")
    return algorithm


def _parameters(algorithm: Algorithm, settings: Mapping[str, Setting], faults: list[str]) -> BaseModel | None:
    values = {}
    for name, entry in kw.parameters_of(algorithm.parameters).items():
        if entry.path in settings:
            # What pydantic takes from whoever declares one.
            alias = entry.info.validation_alias or entry.info.alias
            values[alias if isinstance(alias, str) else name] = settings[entry.path].value
    try:
        return algorithm.parameters.model_validate(values)
    except ValidationError as error:
        faults += _sentences(error, settings, (kw.PARAMETERS,), kw.parameter_names(algorithm.parameters))
        return None


def _tree(parameters: BaseModel | None, settings: Mapping[str, Setting], faults: list[str]) -> Config | None:
    of_tree = {p: s.value for p, s in settings.items() if not p.startswith(f"{kw.PARAMETERS}.")}
    sections = {"model": {}, "data": {}, **nested(of_tree), kw.PARAMETERS: parameters}
    try:
        return Config.model_validate(sections)
    except ValidationError as error:
        faults += _sentences(error, settings, (), {})
        return None


def _sentences(
    error: ValidationError,
    settings: Mapping[str, Setting],
    prefix: tuple[str, ...],
    own: Mapping[str, kw.Entry],
) -> Iterator[str]:
    """One sentence for each field that pydantic complains of, in the caller's words."""
    texts_of: dict[str, list[str]] = {}
    entries: dict[str, kw.Entry] = {}
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in (*prefix, *problem["loc"]))
        entry = None
        while path and entry is None:  # unions and lists add parts of their own to the end
            entry = kw.tree().get(path) or own.get(path.removeprefix(f"{kw.PARAMETERS}."))
            path = entry.path if entry else path.rpartition(".")[0]
        if entry:
            entries[path] = entry
        if path in kw.sections() and problem["type"] == "value_error":
            path = ""  # of several fields, which the sentence names itself
        text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        texts_of.setdefault(path, []).append("is missing" if problem["type"] == "missing" else text)
    for path, texts in texts_of.items():
        text = " or ".join(dict.fromkeys(texts)).replace(" or must be", " or")
        yield _sentence(entries[path], text, settings.get(path)) if path in entries else text


def _sentence(entry: kw.Entry, text: str, setting: Setting | None) -> str:
    head = str(setting) if setting else entry.keyword
    tail = f": {entry.info.description}" if entry.info.description else ""
    place = f" ({setting.source.removeprefix('file ')})" if setting and setting.source != "call" else ""
    return f"{head} {text}{tail}{place}"
