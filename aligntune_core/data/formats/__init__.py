"""The formats: core's own, one file of this folder each, and those that algorithms bring along."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from aligntune_core.data.formats.base import Format
from aligntune_core.errors import ConfigError
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm

# The only module of this folder that is no format. Every other one is named like its format and holds it in ``FORMAT``.
_BASE = "base"


@lru_cache(maxsize=1)
def own() -> dict[str, Format]:
    """Name -> format of core's own."""
    files = sorted(module.name for module in iter_modules([str(Path(__file__).parent)]))
    return {name: import_module(f"{__name__}.{name}").FORMAT for name in files if name != _BASE}


def formats_of(algorithm: Algorithm) -> tuple[Format, ...]:
    """The formats that an algorithm takes, in its order.

    Raises:
        ConfigError: it names one that does not exist.
    """
    return tuple(_format(entry, algorithm.name) for entry in algorithm.formats)


def canonical_columns(algorithm: Algorithm) -> tuple[str, ...]:
    """The canonical columns of an algorithm's rows: those of its first format whose rows are conversations."""
    return tuple(canonical_types(algorithm))


def canonical_types(algorithm: Algorithm) -> dict[str, str]:
    """The same columns with their types, as ``Format.type_of`` has them."""
    formats = formats_of(algorithm)
    chosen = next((entry for entry in formats if entry.conversational), formats[0])
    return {column: chosen.type_of(column) for column in chosen.columns}


def _format(entry: Format | str, algorithm: str) -> Format:
    if isinstance(entry, Format):
        return entry
    if entry not in own():
        hint = did_you_mean(entry, own())
        raise ConfigError(
            f'algorithm "{algorithm}" takes the format "{entry}", which does not exist.{hint} Formats: '
            f"{listed(own())}. One of its own is an aligntune_core.toolkit.Format."
        )
    return own()[entry]
