"""Installed distributions and their entry points: the only module that imports importlib_metadata.

Metadata only: nothing found here is imported until ``EntryPoint.load`` is called.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any
from urllib.parse import unquote, urlsplit

import importlib_metadata as metadata
from packaging.utils import canonicalize_name

_log = logging.getLogger("aligntune.entrypoints")


@dataclass(frozen=True)
class Distribution:
    """One installed distribution."""

    name: str  # as its metadata spells it
    version: str  # its version
    path: str  # the folder it is imported from; the source folder of an editable install
    editable: bool = False  # whether it was installed with ``pip install -e``
    requires: tuple[str, ...] = ()  # its ``Requires-Dist`` lines
    summary: str = ""  # its one-line description

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def canonical(self) -> str:
        """The normalised name: aligntune-trl."""
        return canonicalize_name(self.name)


@dataclass(frozen=True)
class EntryPoint:
    """One line of a distribution's ``entry_points.txt``."""

    name: str
    value: str
    group: str
    distribution: Distribution = field(repr=False)

    def load(self) -> Any:
        """Import what ``value`` ("package.module" or "package.module:attribute") names.

        Raises:
            Exception: whatever the import raises.
        """
        module, _, attribute = self.value.partition(":")
        imported = importlib.import_module(module.strip())
        return attrgetter(attribute.strip())(imported) if attribute else imported


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of ``group``, or of every group that starts with it where it ends in a dot.

    They are sorted by name, then distribution. Each distribution counts once: a stale egg-info beside an editable
    install is passed over, as the import system would.
    """
    entries = (
        e
        for e in _scan(tuple(sys.path))
        if e.group == group or (group.endswith(".") and e.group.startswith(group))
    )
    return tuple(sorted(entries, key=lambda e: (e.name, e.distribution.canonical, e.value)))


def installed(name: str) -> Distribution | None:
    """The installed distribution of that name, or None."""
    try:
        return _describe(metadata.Distribution.from_name(name))
    except metadata.PackageNotFoundError:
        return None


def installed_version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def versions(names: Iterable[str]) -> dict[str, str]:
    """Distribution -> installed version, of those that are installed."""
    return {name: version for name in names if (version := installed_version(name)) is not None}


def refresh() -> None:
    """Forget what was read from disk; the next call reads it again."""
    _scan.cache_clear()
    importlib.invalidate_caches()


@lru_cache(maxsize=4)
def _scan(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """All entry points in groups of ours. ``path`` is sys.path, the key of the cache.

    The text is searched before anything is parsed: with hundreds of distributions, parsing each costs most.
    One distribution that cannot be read is reported and passed over; the others still count.
    """
    entries: dict[str, tuple[EntryPoint, ...]] = {}
    for distribution in metadata.distributions():
        try:
            if "[aligntune." in (distribution.read_text("entry_points.txt") or ""):
                name = canonicalize_name(distribution.metadata["Name"])
                if name not in entries:
                    entries[name] = _of(name)
        except (ValueError, KeyError, TypeError, OSError) as error:
            _log.warning(
                "a distribution in %s is passed over, its metadata: %r", distribution.locate_file(""), error
            )
    return tuple(e for name in sorted(entries) for e in entries[name])


def _of(name: str) -> tuple[EntryPoint, ...]:
    """The entry points of the one distribution that the import system takes for ``name``."""
    source = metadata.Distribution.from_name(name)
    ours = [e for e in source.entry_points if e.group.startswith("aligntune.")]
    distribution = _describe(source)
    return tuple(dict.fromkeys(EntryPoint(e.name, e.value, e.group, distribution) for e in ours))


def _describe(source: metadata.Distribution) -> Distribution:
    origin = json.loads(source.read_text("direct_url.json") or "{}")
    editable = bool(origin.get("dir_info", {}).get("editable"))
    url = str(origin.get("url", ""))
    return Distribution(
        name=source.metadata["Name"],
        version=source.version or "unknown",
        path=unquote(urlsplit(url).path) if editable and url else str(source.locate_file("")),
        editable=editable,
        requires=tuple(source.requires or ()),
        summary=str(source.metadata.get("Summary") or ""),
    )
