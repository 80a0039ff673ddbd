"""The verdict on one backend: its state, the reason, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from aligntune_core.backends.backend import Backend
    from aligntune_core.entrypoints import EntryPoint

State = Literal["ready", "missing", "broken", "incompatible", "conflict", "disabled", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one backend.

    Attributes:
        state: see ``State``.
        reason: why it is not ready, in one line.
        hint: what to do about it.
        missing: requirements that are not met.
        backend: there where ``state`` is "ready".
        cause: what was raised, where it is broken.
        fault: whose fault it is, where it is broken: the plugin or one of its extensions.
    """

    state: State
    reason: str = ""
    hint: str = ""
    missing: tuple[str, ...] = ()
    backend: Backend | None = None
    cause: BaseException | None = None
    fault: EntryPoint | None = None
