"""All algorithms: core's own, one file of this folder each, and those of installed distributions.

Distributions add theirs through the entry-point group ``aligntune.algorithms``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Literal

from aligntune_core.algorithms.base import Algorithm
from aligntune_core.algorithms.elsewhere import ELSEWHERE
from aligntune_core.errors import ConfigError, UnknownAlgorithm
from aligntune_core.wording import a_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aligntune_core.entrypoints import EntryPoint

GROUP = "aligntune.algorithms"

# Modules of this folder that hold no algorithm. Every other one is named like its algorithm and holds it in capitals.
_SHARED = frozenset({"base", "catalogue", "elsewhere", "generation"})

# The order of listings begins with the algorithms that most people look for; the others follow by name.
_FIRST = ("sft", "dpo", "reward", "ppo", "grpo", "gspo", "dapo", "dr_grpo")

# Matches Python's error for an Algorithm that is written as for aligntune 1.0.
_OLD = re.compile(
    r"Algorithm\.__init__\(\) (got an unexpected keyword argument '(kind|columns)'|missing .*'formats')"
)
_CHANGE = (
    "written for aligntune 1.0: an Algorithm has formats in place of kind and columns, as "
    'formats=("preference",), and one that generates says generates=True, scored_by="rewards". '
    "docs/plugins/from-1.0.md has every change"
)

_log = logging.getLogger("aligntune.algorithms")
_reservations: list[Callable[[Algorithm], str]] = []


@dataclass(frozen=True)
class Unusable:
    """An installed algorithm that is left out: whose it is and what is wrong, its state as listings call it, and its
    own names, where they are known, since it may be asked for by them too.
    """

    reason: str
    state: Literal["broken", "incompatible", "conflict"]
    names: frozenset[str] = frozenset()


@lru_cache(maxsize=1)
def own_names() -> tuple[str, ...]:
    """The names of core's own algorithms, which are those of their files: listings import none of them."""
    files = {module.name for module in iter_modules([str(Path(__file__).parent)])}
    names = files - _SHARED
    return tuple([name for name in _FIRST if name in names] + sorted(names.difference(_FIRST)))


@lru_cache(maxsize=1)
def own() -> tuple[Algorithm, ...]:
    """Core's own algorithms."""
    package = __name__.rpartition(".")[0]
    return tuple(getattr(import_module(f"{package}.{name}"), name.upper()) for name in own_names())


def find(name: str) -> Algorithm:
    """The algorithm of that name; "dr-grpo", "DrGRPO" and "dr_grpo" are one.

    Raises:
        UnknownAlgorithm: no installed distribution brings it; says the nearest name.
        ConfigError: its distribution brings it, but it could not be loaded.
    """
    spelling = _plain(name)
    for algorithms in (
        own,
        lambda: _external()[0].values(),
    ):  # a name of core's own loads no other distribution's
        for algorithm in algorithms():
            if spelling in _names(algorithm):
                return algorithm
    for other, unusable in broken().items():
        if spelling == _plain(other) or spelling in unusable.names:
            raise ConfigError(f'algorithm "{other}" could not be loaded: {unusable.reason}')
    raise UnknownAlgorithm(name, known(), ELSEWHERE.get(spelling, ""))


def known() -> dict[str, Algorithm]:
    """Name -> algorithm: core's own, then those of installed distributions; broken ones are logged once."""
    return {**{a.name: a for a in own()}, **_external()[0]}


def names() -> list[str]:
    """The names of ``known()``, without importing core's own."""
    return [*own_names(), *_external()[0]]


def broken() -> dict[str, Unusable]:
    """Name -> reason, of installed algorithms that cannot be used."""
    return dict(_external()[1])


def refresh() -> None:
    """Forget the algorithms of other distributions; the next call loads them again."""
    _loaded.cache_clear()


def reserve(clash: Callable[[Algorithm], str]) -> None:
    """Leave out installed algorithms of which ``clash`` says, as the end of a sentence, what they take from others."""
    _reservations.append(clash)
    refresh()  # some may have been loaded before


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _names(algorithm: Algorithm) -> set[str]:
    return {_plain(name) for name in (algorithm.name, *algorithm.aliases)}


def _clash(algorithm: Algorithm, owners: Mapping[str, str]) -> str:
    """A sentence where the algorithm or one of its parameters has a name that belongs to another; else empty."""
    if names := _names(algorithm) & owners.keys():
        return f"that name belongs to {owners[names.pop()]}"
    return next(filter(None, (reservation(algorithm) for reservation in _reservations)), "")


def _external() -> tuple[dict[str, Algorithm], dict[str, Unusable]]:
    """Algorithms of other distributions, and name -> why of those that cannot be used."""
    from aligntune_core.entrypoints import entry_points

    points = entry_points(GROUP)
    return _loaded(points) if points else ({}, {})


@lru_cache(maxsize=4)
def _loaded(points: tuple[EntryPoint, ...]) -> tuple[dict[str, Algorithm], dict[str, Unusable]]:
    usable: dict[str, Algorithm] = {}
    unusable: dict[str, Unusable] = {}
    owners = {name: "aligntune itself" for algorithm in own() for name in _names(algorithm)}
    for point in points:
        claims = {str(other.distribution) for other in points if other.name == point.name}
        outcome = _algorithm_of(point, claims, owners)
        if isinstance(outcome, Algorithm):
            usable[outcome.name] = outcome
            owners.update(dict.fromkeys(_names(outcome), str(point.distribution)))
        elif point.name not in unusable:
            unusable[point.name] = outcome
            _log.warning('algorithm "%s" is left out: %s', point.name, outcome.reason)
    return usable, unusable


def _algorithm_of(point: EntryPoint, claims: set[str], owners: Mapping[str, str]) -> Algorithm | Unusable:
    """The algorithm that an entry point names, or why it cannot be used."""
    if len(claims) > 1:
        return Unusable(f"claimed by {' and '.join(sorted(claims))}; uninstall one of them", "conflict")
    origin = str(point.distribution)
    try:
        algorithm = point.load()
        if not isinstance(algorithm, Algorithm):
            raise TypeError(f"{point.value} is {a_type(algorithm)}, not an Algorithm")
        clash = _clash(algorithm, owners)
    except (Exception, SystemExit) as error:  # a broken module of another distribution must not stop the rest
        if isinstance(error, TypeError) and _OLD.match(str(error)):
            return Unusable(f"{origin}: {_CHANGE} ({error})", "incompatible")
        return Unusable(f"{origin}: {type(error).__name__}: {error}", "broken")
    return Unusable(f"{origin}: {clash}", "conflict", frozenset(_names(algorithm))) if clash else algorithm
