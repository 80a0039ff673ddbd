"""The rows that ``aligntune backends`` and ``doctor`` print. A faulty plugin becomes a row and never raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from aligntune_core.backends.backend import Backend
from aligntune_core.entrypoints import Distribution, EntryPoint
from aligntune_core.model.device import probe
from aligntune_core.types import Support
from aligntune_core.wording import listed

if TYPE_CHECKING:
    from aligntune_core.backends.loading import State, Verdict

_FAILED = "supports_algorithm failed"


@dataclass(frozen=True, kw_only=True)
class BackendRow:
    """One backend in a listing.

    Attributes:
        name: its name.
        state: "ready", "missing", "broken", "incompatible", "conflict", "disabled" or "unknown".
        summary: one line of its own, or of its distribution where it is not loaded.
        algorithms: every known algorithm -> whether it is trained, and why not; empty unless ready.
        reason: why it is not ready, in one line.
        hint: what to do about it; for a ready one, what its devices lack here.
        distribution, version, path, editable: who brought it and from where; of the first, in a conflict.
        distributions: all that claim the name, as "name version".
        requires: its requirements as written.
        missing: those that are not met.
        devices: device kinds it trains on; empty unless ready.
        extensions: "name (distribution version)" of its extensions.
        traceback: of what was raised, where it is broken.
    """

    name: str
    state: State
    summary: str = ""
    algorithms: dict[str, Support] = field(default_factory=dict)
    reason: str = ""
    hint: str = ""
    distribution: str = ""
    version: str = ""
    path: str = ""
    editable: bool = False
    distributions: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    traceback: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The row in types that JSON knows; each algorithm is ``{"ok": bool, "reason": str}``."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EntryPointRow:
    """One entry point of any group of aligntune."""

    name: str
    group: str
    state: State
    reason: str
    value: str
    distribution: str
    version: str
    path: str
    editable: bool

    def as_dict(self) -> dict[str, Any]:
        """The row in types that JSON knows."""
        return asdict(self)


def backend_row(
    name: str, verdict: Verdict, entries: Sequence[EntryPoint], extensions: Sequence[EntryPoint], trace: str
) -> BackendRow:
    """The row of one backend."""
    from aligntune_core.algorithms import names

    first = entries[0].distribution if entries else Distribution("", "", "")
    backend = verdict.backend
    algorithms = {algorithm: _support(backend, algorithm) for algorithm in names()} if backend else {}
    return BackendRow(
        name=name,
        state=verdict.state,
        summary=backend.info.summary if backend else first.summary,
        algorithms=algorithms,
        reason=verdict.reason,
        hint=_failed_hint(algorithms) or _device_hint(backend) if backend else verdict.hint,
        distribution=first.name,
        version=first.version,
        path=first.path,
        editable=first.editable,
        distributions=tuple(str(e.distribution) for e in entries),
        requires=first.requires,
        missing=verdict.missing,
        devices=backend.info.devices if backend else (),
        extensions=tuple(f"{e.name} ({e.distribution})" for e in extensions),
        traceback=trace,
    )


def entry_point_rows(
    entries: Sequence[EntryPoint], state_of: Callable[[EntryPoint], tuple[State, str]]
) -> list[EntryPointRow]:
    """One row an entry point, sorted by group and name. A name that two distributions claim is a conflict."""
    owners: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        owners.setdefault((entry.group, entry.name), set()).add(str(entry.distribution))
    rows = []
    for entry in sorted(entries, key=lambda e: (e.group, e.name, e.distribution.canonical)):
        state, reason = state_of(entry)
        claimed = owners[entry.group, entry.name]
        if len(claimed) > 1 and state != "disabled":
            state, reason = "conflict", f"claimed by {' and '.join(sorted(claimed))}"
        rows.append(
            EntryPointRow(
                name=entry.name,
                group=entry.group,
                state=state,
                reason=reason,
                value=entry.value,
                distribution=entry.distribution.name,
                version=entry.distribution.version,
                path=entry.distribution.path,
                editable=entry.distribution.editable,
            )
        )
    return rows


def _support(backend: Backend, algorithm: str) -> Support:
    try:
        return backend.supports(algorithm)
    except (Exception, SystemExit) as error:  # shown in its row; the listing goes on
        return Support(False, f"{_FAILED}: {type(error).__name__}: {error}")


def _failed_hint(algorithms: dict[str, Support]) -> str:
    """The error that the plugin raised when it was asked whether it trains an algorithm; else empty."""
    return next((s.reason for s in algorithms.values() if s.reason.startswith(_FAILED)), "")


def _device_hint(backend: Backend) -> str:
    machine = probe()
    if set(backend.info.devices) & set(machine.kinds):
        return ""
    return f"trains on {listed(backend.info.devices)}, which this machine does not seem to have. {machine}"
