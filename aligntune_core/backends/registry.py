"""The installed backends and their states: discover (metadata) -> load (one light module) -> call.

A listing tolerates everything; a backend that is named raises. Nothing falls back in silence.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from packaging.requirements import InvalidRequirement

from aligntune_core import entrypoints
from aligntune_core.backends import listing
from aligntune_core.backends.backend import Backend
from aligntune_core.backends.listing import BackendRow, EntryPointRow
from aligntune_core.backends.loading import PluginFault, State, Verdict, load
from aligntune_core.backends.requirements import (
    CORE,
    FROM_CLONE,
    Demand,
    core_mismatch,
    missing,
    with_plugins,
)
from aligntune_core.entrypoints import EntryPoint
from aligntune_core.errors import BackendBroken, BackendConflict, BackendNotFound, BackendUnavailable
from aligntune_core.version import __version__
from aligntune_core.wording import did_you_mean, listed, one_line

logger = logging.getLogger("aligntune")

GROUP = "aligntune.backends"
EXTENSION_GROUPS = "aligntune.extensions."
ALGORITHMS = "aligntune.algorithms"
REWARDS = "aligntune.rewards"
DISABLE = "ALIGNTUNE_DISABLE_BACKENDS"
ALLOW = "ALIGNTUNE_BACKENDS"

# An unrelated public distribution of our name (0.1.x) declares entry points in our group that do not load.
IGNORED = frozenset({"aligntune"})

# How to install the backends of this repository.
HINTS = {name.removeprefix("aligntune-"): hint for name, hint in FROM_CLONE.items() if name != CORE}


class Registry:
    """The backends of this environment, looked up once; each is loaded when it is first needed.

    ``environ`` holds ALIGNTUNE_DISABLE_BACKENDS and ALIGNTUNE_BACKENDS (an allow-list); ``unknown`` (name -> note) and
    ``notes`` (sentences) are of the names in them that no installed backend has.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._entries: dict[str, list[EntryPoint]] = {}
        for entry in entrypoints.entry_points(GROUP):
            if entry.distribution.canonical not in IGNORED:
                self._entries.setdefault(entry.name, []).append(entry)
        self._disabled = _names_in(environ, DISABLE)
        self._allowed = _names_in(environ, ALLOW)
        self._verdicts: dict[str, Verdict] = {}
        self.unknown = self._notes(ALLOW, self._allowed)
        self.notes = (*self._notes(DISABLE, self._disabled).values(), *self.unknown.values())
        for note in self.notes:
            logger.warning(note)

    def _notes(self, variable: str, names: set[str]) -> dict[str, str]:
        """Name -> warning, of the names in a variable that no installed backend has."""
        return {
            name: f'{variable} names "{name}", but no such backend is installed.'
            f"{did_you_mean(name, self._entries)} Installed: {listed(self.names())}."
            for name in sorted(names - self._entries.keys())
        }

    def names(self) -> list[str]:
        """All installed backends, whatever their state."""
        return sorted(self._entries)

    def entry(self, name: str) -> EntryPoint:
        """The entry point of a backend.

        Raises:
            BackendNotFound: no distribution brings it.
            BackendConflict: two do.
        """
        entries = self._entries.get(name)
        if not entries:
            raise BackendNotFound(name, self.names(), HINTS.get(name, ""))
        if len(entries) > 1:
            raise BackendConflict(name, [str(e.distribution) for e in entries])
        return entries[0]

    def get(self, name: str) -> Backend:
        """The backend of that name, loaded and validated.

        Raises:
            BackendNotFound: no installed distribution brings it.
            BackendUnavailable: a requirement is missing, or it is disabled.
            BackendBroken: it cannot be loaded or breaks the hook contract, or was built for another core.
            BackendConflict: two distributions claim the name.
        """
        name = str(getattr(name, "value", name))
        verdict = self._verdict(name)
        backend = verdict.backend
        if backend is None:
            raise self._error(name, verdict) from verdict.cause
        return backend

    def ready(self) -> dict[str, Backend]:
        """Name -> backend, of those that are ready."""
        verdicts = {name: self._verdict(name) for name in self.names()}
        return {name: verdict.backend for name, verdict in verdicts.items() if verdict.backend is not None}

    def rows(self) -> list[BackendRow]:
        """One row a backend, whatever its state. Raises nothing for a plugin's faults."""
        return [self.row(name) for name in self.names()]

    def row(self, name: str) -> BackendRow:
        """The row of one backend."""
        verdict, entries = self._verdict(name), self._entries.get(name, [])
        trace = "".join(traceback.format_exception(verdict.cause)) if verdict.cause else ""
        return listing.backend_row(name, verdict, entries, self._extensions_of(name), trace)

    def third_party(self) -> list[EntryPointRow]:
        """All entry points in groups of aligntune, with their state: backends, extensions, and so on.

        Rewards are judged by metadata alone, as loading one may import anything.
        """
        return listing.entry_point_rows(
            [
                e
                for e in entrypoints.entry_points("aligntune.")
                if e.group != GROUP or e in self._entries.get(e.name, ())
            ],
            self._state_of,
        )

    def extensions(self) -> list[EntryPointRow]:
        """The part of ``third_party`` that extends a backend."""
        return [row for row in self.third_party() if row.group.startswith(EXTENSION_GROUPS)]

    def _extensions_of(self, name: str) -> list[EntryPoint]:
        return list(entrypoints.entry_points(EXTENSION_GROUPS + name))

    def _state_of(self, entry: EntryPoint) -> tuple[State, str]:
        """State and reason of any entry point."""
        if entry.group == GROUP:
            verdict = self._verdict(entry.name)
            return verdict.state, verdict.reason
        own = _metadata_verdict(entry)
        if own is not None:
            return own.state, own.reason
        if not entry.group.startswith(EXTENSION_GROUPS):
            return _state_of_other(entry)
        name = entry.group.removeprefix(EXTENSION_GROUPS)
        verdict = self._verdict(name)
        if verdict.fault == entry:
            return verdict.state, verdict.reason
        if verdict.state == "ready":
            return "ready", ""
        return (
            verdict.state,
            f'backend "{name}" is {verdict.state if verdict.state != "unknown" else "not installed"}',
        )

    def _verdict(self, name: str) -> Verdict:
        if name not in self._verdicts:
            self._verdicts[name] = self._judge(name)
        return self._verdicts[name]

    def _judge(self, name: str) -> Verdict:
        """Judge a backend with as little work as possible: metadata first, then an import."""
        entries = self._entries.get(name)
        if not entries:
            return Verdict("unknown", "not installed", HINTS.get(name, ""))
        if name in self._disabled:
            return Verdict("disabled", f"disabled by {DISABLE}", f"take it out of {DISABLE}")
        if self._allowed and name not in self._allowed:
            return Verdict("disabled", f"not in {ALLOW}", f"add it to {ALLOW}")
        if len(entries) > 1:
            distributions = sorted(str(e.distribution) for e in entries)
            return Verdict("conflict", f"claimed by {' and '.join(distributions)}", "uninstall one of them")
        extensions = self._extensions_of(name)
        for entry in (entries[0], *extensions):
            verdict = _metadata_verdict(entry)
            if verdict is not None:
                return (
                    verdict if entry is entries[0] else _of_extension(entry, replace(verdict, state="broken"))
                )
        try:
            return Verdict("ready", backend=load(entries[0], extensions))
        except PluginFault as fault:
            verdict = Verdict(fault.state, str(fault), cause=fault.__cause__, fault=fault.entry)
            if fault.entry is not entries[0]:
                return _of_extension(fault.entry, verdict)
            newer = f"install a release of {fault.entry.distribution.name} for aligntune {__version__}"
            return replace(verdict, hint=newer) if fault.state == "incompatible" else verdict

    def _error(self, name: str, verdict: Verdict) -> Exception:
        """The error for a call that names a backend which is not ready."""
        if verdict.state in ("unknown", "conflict"):
            try:
                self.entry(name)
            except (BackendNotFound, BackendConflict) as error:
                return error
        kind = BackendUnavailable if verdict.state in ("missing", "disabled") else BackendBroken
        state = f"{verdict.state}: {verdict.reason}".replace("disabled: disabled", "disabled")
        text = f'backend "{name}" ({self.entry(name).distribution}) is {state}'
        return kind(f"{text}. To mend it: {verdict.hint}" if verdict.hint else f"{text}.")


def _names_in(environ: Mapping[str, str], variable: str) -> set[str]:
    return {name.strip() for name in environ.get(variable, "").split(",") if name.strip()}


def _metadata_verdict(entry: EntryPoint) -> Verdict | None:
    """The verdict of metadata alone, of the distribution and the plugins that it requires; None where all is well."""
    lacking: list[Demand] = []
    for distribution in with_plugins(entry.distribution):
        try:
            core_versions, unmet = core_mismatch(distribution), missing(distribution)
        except InvalidRequirement as error:
            return Verdict(
                "broken",
                f"{distribution} has a requirement that cannot be read: {one_line(error)}",
                fault=entry,
            )
        if core_versions is not None:
            return Verdict(
                "incompatible",
                f"{distribution} was built for aligntune {core_versions}; this is aligntune {__version__}",
                FROM_CLONE.get(distribution.canonical)
                or f"install a release of {distribution.name} for aligntune {__version__}, or the aligntune it wants",
                fault=entry,
            )
        below = "" if distribution is entry.distribution else str(distribution)
        lacking += [replace(m, because=m.because or below) for m in unmet]
    if not lacking:
        return None
    names = tuple(str(m) for m in lacking)
    hints = dict.fromkeys(m.hint for m in lacking)
    return Verdict("missing", f"needs {listed(names)}", "; ".join(hints), names, fault=entry)


def _of_extension(entry: EntryPoint, verdict: Verdict) -> Verdict:
    """The verdict on a backend whose extension cannot be used, of the verdict on the extension."""
    return replace(
        verdict,
        reason=f'its extension "{entry.name}" of {entry.distribution} cannot be used: {verdict.reason}',
        hint=verdict.hint or f"update {entry.distribution.name}, or pip uninstall {entry.distribution.name}",
        missing=(),
    )


def _state_of_other(entry: EntryPoint) -> tuple[State, str]:
    """State and reason of an entry point that belongs to no backend."""
    if entry.group == ALGORITHMS:
        from aligntune_core.algorithms.catalogue import broken
        from aligntune_core.config import keywords  # noqa: F401  it reserves their names

        unusable = broken().get(entry.name)
        return (unusable.state, unusable.reason) if unusable else ("ready", "")
    if entry.group == REWARDS:
        from aligntune_core.rewards.catalogue import OWN, is_own

        return ("conflict", OWN) if is_own(entry.name) else ("ready", "")
    return "ready", ""


def registry() -> Registry:
    """The registry of this process, made anew when ``sys.path`` or one of the two variables changes."""
    return _cached(tuple(sys.path), os.environ.get(DISABLE, ""), os.environ.get(ALLOW, ""))


@lru_cache(maxsize=1)
def _cached(path: tuple[str, ...], disable: str, allow: str) -> Registry:
    return Registry({DISABLE: disable, ALLOW: allow})


def refresh() -> None:
    """Forget what was read from disk, e.g. after ``pip install`` in a notebook."""
    from aligntune_core.algorithms import catalogue

    entrypoints.refresh()
    catalogue.refresh()
    _cached.cache_clear()
