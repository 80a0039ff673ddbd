"""Algorithms known to core: their names, columns and parameters.

Core's own: sft, dpo, reward, ppo, grpo, gspo, dapo, dr_grpo. Installed distributions add theirs through the
entry-point group ``aligntune.algorithms``.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from aligntune_core.algorithms.base import Algorithm, Batch, Default
from aligntune_core.errors import ConfigError, UnknownAlgorithm, a_type

if TYPE_CHECKING:
    from aligntune_core.entrypoints import EntryPoint

__all__ = ["Algorithm", "Batch", "Default", "find", "known", "names"]

GROUP = "aligntune.algorithms"

# Name -> module here that defines it in capitals; imported when first asked for, as listings need names only.
_HOMES = {
    "sft": "sft",
    "dpo": "dpo",
    "reward": "reward",
    "ppo": "ppo",
    "grpo": "grpo",
    "gspo": "grpo",
    "dapo": "grpo",
    "dr_grpo": "grpo",
}

_log = logging.getLogger("aligntune.algorithms")


@lru_cache(maxsize=1)
def own() -> tuple[Algorithm, ...]:
    """Core's own algorithms."""
    return tuple(getattr(import_module(f"{__name__}.{home}"), name.upper()) for name, home in _HOMES.items())


def find(name: str) -> Algorithm:
    """The algorithm of that name; "dr-grpo", "DrGRPO" and "dr_grpo" are one.

    Raises:
        UnknownAlgorithm: no installed distribution brings it; says the nearest name.
        ConfigError: its distribution brings it, but it could not be loaded.
    """
    wanted = _plain(name)
    for algorithm in own():
        if wanted in _names(algorithm):
            return algorithm
    found, broken = _external()
    for algorithm in found.values():
        if wanted in _names(algorithm):
            return algorithm
    for other, reason in broken.items():
        if wanted == _plain(other):
            raise ConfigError(f'algorithm "{other}" could not be loaded: {reason}')
    raise UnknownAlgorithm(name, known())


def known() -> dict[str, Algorithm]:
    """Name -> algorithm: core's own, then those of installed distributions; broken ones are logged once."""
    return {**{a.name: a for a in own()}, **_external()[0]}


def names() -> list[str]:
    """The names of ``known()``, without importing core's own."""
    return [*_HOMES, *_external()[0]]


def broken() -> dict[str, str]:
    """Name -> reason, of installed algorithms that cannot be used."""
    return dict(_external()[1])


def refresh() -> None:
    """Load the algorithms of other distributions again when next asked."""
    _loaded.cache_clear()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _names(algorithm: Algorithm) -> set[str]:
    return {_plain(name) for name in (algorithm.name, *algorithm.aliases)}


def _external() -> tuple[dict[str, Algorithm], dict[str, str]]:
    """Algorithms of other distributions, and name -> reason of those that cannot be used."""
    from aligntune_core.entrypoints import entry_points

    points = entry_points(GROUP)
    return _loaded(points) if points else ({}, {})


@lru_cache(maxsize=4)
def _loaded(points: tuple[EntryPoint, ...]) -> tuple[dict[str, Algorithm], dict[str, str]]:
    found: dict[str, Algorithm] = {}
    broken: dict[str, str] = {}
    taken = {name: "aligntune itself" for algorithm in own() for name in _names(algorithm)}
    for point in points:
        origin = str(point.distribution)
        try:
            algorithm = point.load()
            if not isinstance(algorithm, Algorithm):
                raise TypeError(f"{point.value} is {a_type(algorithm)}, not an Algorithm")
            clash = _names(algorithm) & taken.keys()
            if clash:
                raise ValueError(f"that name belongs to {taken[clash.pop()]}")
        except (Exception, SystemExit) as error:  # one stranger's module must not stop the rest
            broken[point.name] = f"{origin}: {type(error).__name__}: {error}"
            _log.warning('algorithm "%s" is left out: %s', point.name, broken[point.name])
            continue
        found[algorithm.name] = algorithm
        taken.update(dict.fromkeys(_names(algorithm), origin))
    return found, broken
