"""The two ways in: a call's keywords, and a file or dict with overrides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from aligntune_core.config.read.build import build_config
from aligntune_core.config.read.files import parse_words, read_file
from aligntune_core.config.read.layers import Layer
from aligntune_core.config.schema.sections import Config
from aligntune_core.errors import ConfigError
from aligntune_core.wording import a_type

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
    return _built(kind, config, keywords)


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
    return _built(kind, source, words)


def _built(kind: str | None, source: Source, overrides: Mapping[str, Any]) -> Config:
    layers = [*([_layer(source)] if source is not None else []), Layer(overrides)]
    return build_config(kind, layers)


def _layer(source: Source) -> Layer:
    if isinstance(source, Config):
        from aligntune_core.config.record import keywords_of

        return Layer(keywords_of(source), manifest=True, sources=source.sources)
    if isinstance(source, Mapping):
        inner = source.get("config")
        if isinstance(inner, Mapping):
            return Layer(inner, manifest=True, sources=source.get("sources") or {})
        return Layer(source)
    if isinstance(source, (str, PathLike)):
        file = read_file(Path(source).expanduser())
        return Layer(file.data, f"file {source}", file.lines, file.manifest, file.sources)
    raise ConfigError(f"config is {a_type(source)}; give a path or a dict")
