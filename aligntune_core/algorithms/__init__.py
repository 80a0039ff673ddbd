"""Algorithms known to core: their names, columns and parameters.

Core's own: sft, dpo, reward, ppo, grpo, gspo, dapo, dr_grpo. Installed distributions add theirs through the
entry-point group ``aligntune.algorithms``.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from aligntune_core.algorithms.base import Algorithm, Batch, Default
from aligntune_core.algorithms.dpo import DPO
from aligntune_core.algorithms.grpo import DAPO, DR_GRPO, GRPO, GSPO
from aligntune_core.algorithms.ppo import PPO
from aligntune_core.algorithms.reward import REWARD
from aligntune_core.algorithms.sft import SFT
from aligntune_core.errors import ConfigError, UnknownAlgorithm

if TYPE_CHECKING:
    from aligntune_core.entrypoints import EntryPoint

__all__ = ["Algorithm", "Batch", "Default", "find", "known"]

GROUP = "aligntune.algorithms"
OWN: tuple[Algorithm, ...] = (SFT, DPO, REWARD, PPO, GRPO, GSPO, DAPO, DR_GRPO)

_log = logging.getLogger("aligntune.algorithms")


def find(name: str) -> Algorithm:
    """The algorithm of that name; "dr-grpo", "DrGRPO" and "dr_grpo" are one.

    Raises:
        UnknownAlgorithm: no installed distribution brings it; says the nearest name.
        ConfigError: its distribution brings it, but it could not be loaded.
    """
    wanted = _plain(name)
    for algorithm in OWN:
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
    return {**{a.name: a for a in OWN}, **_external()[0]}


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

    return _loaded(entry_points(GROUP))


@lru_cache(maxsize=4)
def _loaded(points: tuple[EntryPoint, ...]) -> tuple[dict[str, Algorithm], dict[str, str]]:
    found: dict[str, Algorithm] = {}
    broken: dict[str, str] = {}
    taken = {name: "aligntune itself" for own in OWN for name in _names(own)}
    for point in points:
        origin = str(point.distribution)
        try:
            algorithm = point.load()
            if not isinstance(algorithm, Algorithm):
                raise TypeError(f"{point.value} is a {type(algorithm).__name__}, not an Algorithm")
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
