"""From keywords to one validated configuration, or one error that holds every problem of the call."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from aligntune_core.algorithms import Algorithm, find, known
from aligntune_core.config import keywords as kw
from aligntune_core.config.read.layers import Layer, Reader, Setting, not_chosen
from aligntune_core.config.resolve.checks import notes, problems
from aligntune_core.config.resolve.defaults import Filled, fill
from aligntune_core.config.schema.sections import Config
from aligntune_core.config.values import equal, plain_value
from aligntune_core.errors import ConfigError
from aligntune_core.wording import listed

_log = logging.getLogger("aligntune.config")
_CALLS = {"sft": "create_sft_trainer", "rl": "create_rl_trainer"}


def build_config(kind: str | None, layers: Iterable[Layer], title: str = "") -> Config:
    """Build the configuration.

    Args:
        kind: "sft", "rl", or None where the layers say which algorithm it is.
        layers: later ones over earlier ones.
        title: what the error is about: the name of a file.

    Raises:
        ConfigError: with every problem in ``problems``.
    """
    layers = list(layers)
    algorithm = _algorithm(plain_value(kind), layers)
    reader = Reader(algorithm, layers)
    reader.read()
    settings = reader.settings
    settings["algorithm"] = Setting(
        "algorithm", algorithm.name, "algorithm", _source(settings.get("algorithm"))
    )
    faults = list(reader.problems)
    values = {path: s.value for path, s in settings.items()}
    parameters, wrong = _parameters(algorithm, settings)
    faults += wrong
    first, wrong = _tree(values, parameters, settings)
    faults += wrong
    if first is None or parameters is None:
        raise ConfigError(faults, where=title)
    filled = fill(first, algorithm, set(settings))
    faults += problems(filled, algorithm, settings)
    if faults:
        raise ConfigError(faults, where=title)
    config = with_sources(filled, settings, reader.manifest)
    for text in notes(
        filled, {p: s for p, s in settings.items() if not not_chosen(config.sources.get(p, "call"))}
    ):
        _log.warning(text)
    return config


def with_sources(filled: Filled, settings: Mapping[str, Setting], manifest: Mapping[str, str]) -> Config:
    """Note on the configuration where each value came from and what it would have been."""
    config = filled.config
    config._defaults.update(filled.values)
    for path, value in paths(config).items():
        if path not in settings or path in filled.replaced:
            config.sources[path] = filled.reasons.get(path, "default")
        elif path in manifest and _carried(manifest[path], equal(value, default_of(config, path))):
            how = "resolved" if manifest[path].startswith("resolved") else "default"
            config.sources[path] = f"{how}, as in {settings[path].source}"
        else:
            config.sources[path] = settings[path].source
    return config


def _carried(source: str, is_default: bool) -> bool:
    """Whether nobody chose a value of a manifest; one that does not say is judged by the value."""
    return not_chosen(source) if source else is_default


def default_of(config: Config, path: str) -> Any:
    """The value that a path would have had if it had not been set."""
    if path in config._defaults:
        return config._defaults[path]
    entry = kw.tree().get(path)
    if path.startswith(f"{kw.PARAMETERS}."):
        entry = kw.parameters_of(find(config.algorithm).parameters).get(path.partition(".")[2])
    return entry.info.get_default(call_default_factory=True) if entry else None


def paths(config: Config) -> dict[str, Any]:
    """Config path -> value for every field, those of the algorithm's parameters and of quantization included."""

    def walk(section: BaseModel, prefix: str) -> Iterable[tuple[str, Any]]:
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


def _source(setting: Setting | None) -> str:
    return setting.source if setting else "call"


def _parameters(algorithm: Algorithm, settings: Mapping[str, Setting]) -> tuple[BaseModel | None, list[str]]:
    values = {}
    for name, entry in kw.parameters_of(algorithm.parameters).items():
        if entry.path in settings:
            alias = (
                entry.info.validation_alias or entry.info.alias
            )  # what pydantic takes from whoever declares one
            values[alias if isinstance(alias, str) else name] = settings[entry.path].value
    try:
        return algorithm.parameters.model_validate(values), []
    except ValidationError as error:
        return None, sentences(error, settings, (kw.PARAMETERS,), kw.parameter_names(algorithm.parameters))


def _tree(
    values: Mapping[str, Any], parameters: BaseModel | None, settings: Mapping[str, Setting]
) -> tuple[Config | None, list[str]]:
    nested: dict[str, Any] = {"model": {}, "data": {}}
    for path, value in values.items():
        if path.startswith(f"{kw.PARAMETERS}."):
            continue
        *sections, name = path.split(".")
        at = nested
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    nested[kw.PARAMETERS] = parameters
    try:
        return Config.model_validate(nested), []
    except ValidationError as error:
        return None, sentences(error, settings, (), {})


def sentences(
    error: ValidationError,
    settings: Mapping[str, Setting],
    prefix: tuple[str, ...],
    own: Mapping[str, kw.Entry],
) -> list[str]:
    """One sentence for each field that pydantic complains of, in the caller's words."""
    texts_of: dict[str, list[str]] = {}
    entries: dict[str, kw.Entry] = {}
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in (*prefix, *problem["loc"]))
        entry = None
        while path and entry is None:  # unions and lists add parts of their own to the end
            entry = kw.tree().get(path) or own.get(path.removeprefix(f"{kw.PARAMETERS}."))
            path = path if entry else path.rpartition(".")[0]
        if entry:
            path = entry.path
            entries[path] = entry
        if path in kw.sections() and problem["type"] == "value_error":
            path = ""  # of several fields, which the sentence names itself
        text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        texts_of.setdefault(path, []).append("is missing" if problem["type"] == "missing" else text)
    return [_sentence(entries.get(path), texts, settings.get(path)) for path, texts in texts_of.items()]


def _sentence(entry: kw.Entry | None, texts: list[str], setting: Setting | None) -> str:
    text = " or ".join(dict.fromkeys(texts)).replace(" or must be", " or")
    if entry is None:
        return text
    head = str(setting) if setting else entry.keyword
    tail = f": {entry.info.description}" if entry.info.description else ""
    place = f" ({setting.source.removeprefix('file ')})" if setting and setting.source != "call" else ""
    return f"{head} {text}{tail}{place}"
