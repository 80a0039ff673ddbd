"""Make a ``Backend`` of a plugin's modules: import, validate, register. Only this module makes a PluginManager.

What comes of it is a backend's ``Verdict``, or a ``PluginFault``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pluggy

from aligntune_core import hookspecs
from aligntune_core.backends import default_hooks
from aligntune_core.backends.backend import Backend
from aligntune_core.backends.validation import (
    REQUIRED,
    check_honours,
    info_problems,
    moved_import,
    old_seam,
    problems,
)
from aligntune_core.entrypoints import EntryPoint
from aligntune_core.types import BackendInfo
from aligntune_core.wording import one_line

# Fields of ``BackendInfo`` that an extension may add to.
_ADDED = ("honours", "quantizations", "strategies", "generators", "forbids")

State = Literal["ready", "missing", "broken", "incompatible", "conflict", "disabled", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one backend."""

    state: State  # see ``State``
    reason: str = ""  # why it is not ready, in one line
    hint: str = ""  # what to do about it
    missing: tuple[str, ...] = ()  # requirements that are not met
    backend: Backend | None = None  # there where ``state`` is "ready"
    cause: BaseException | None = None  # what was raised, where it is broken
    # whose fault it is, where it is broken: the plugin or one of its extensions
    fault: EntryPoint | None = None


class PluginFault(Exception):
    """A plugin or extension that cannot be used: the message says why, ``__cause__`` is what it raised.

    Attributes:
        entry: whose fault it is.
        state: "broken", or "incompatible" where it is written for another seam.
    """

    def __init__(self, entry: EntryPoint, reason: str, state: State = "broken") -> None:
        super().__init__(reason)
        self.entry = entry
        self.state = state


def load(entry: EntryPoint, extensions: Sequence[EntryPoint] = ()) -> Backend:
    """Import the plugin and its extensions and return the backend.

    Core's defaults are registered first, the plugin next, extensions last: pluggy asks in the reverse order.

    Raises:
        PluginFault: something was raised, or does not fulfil the hook contract.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(default_hooks, "aligntune")
    info = _registered(manager, entry, REQUIRED)
    if info is None:
        raise PluginFault(entry, "backend_info returned None; it must return aligntune_core.BackendInfo")
    for extension in extensions:
        info = merged(info, _registered(manager, extension, ()))
    return Backend(entry.name, info, entry.distribution, tuple(extensions), manager.hook)


def merged(info: BackendInfo, extension: BackendInfo | None) -> BackendInfo:
    """A backend's information with what an extension adds to it."""
    if extension is None:
        return info
    added: dict[str, object] = {}
    for name in _ADDED:
        own, more = getattr(info, name), getattr(extension, name)
        added[name] = own | more if isinstance(own, frozenset) else tuple(dict.fromkeys((*own, *more)))
    return replace(info, **added)  # type: ignore[arg-type]


def _registered(
    manager: pluggy.PluginManager, entry: EntryPoint, required: Sequence[str]
) -> BackendInfo | None:
    """Register one module, and return its own answer to ``backend_info``; None where it has none."""
    try:
        module = entry.load()
    except (Exception, SystemExit) as error:  # a plugin may raise anything; Ctrl-C still passes
        if why := moved_import(error):
            raise PluginFault(entry, f"{entry.value}: {why}", "incompatible") from error
        raise PluginFault(entry, f"importing {entry.value} raised {one_line(error)}") from error
    if why := old_seam(module):
        raise PluginFault(entry, f"{entry.value}: {why}", "incompatible")
    if faults := problems(module, required):
        raise PluginFault(entry, f"{entry.value}: " + "; ".join(faults))
    try:
        manager.register(module, f"{entry.distribution.canonical}:{entry.group}:{entry.name}")
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginFault(entry, f"{entry.value} was refused by pluggy: {one_line(error)}") from error
    others = [plugin for plugin in manager.get_plugins() if plugin is not module]
    try:
        answers = manager.subset_hook_caller("backend_info", remove_plugins=others)()
    except (Exception, SystemExit) as error:
        raise PluginFault(entry, f"backend_info raised {one_line(error)}") from error
    info: BackendInfo | None = next(iter(answers), None)
    if info is not None and (faults := info_problems(info) or check_honours(info)):
        raise PluginFault(entry, "; ".join(faults))
    return info
