"""One backend's modules -> one ``Backend``: import, validate, register. Only this makes a PluginManager."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from aligntune_core import hookspecs
from aligntune_core.backends import default_prepare
from aligntune_core.backends.backend import Backend
from aligntune_core.backends.validation import REQUIRED, check_honours, info_problems, problems
from aligntune_core.entrypoints import EntryPoint
from aligntune_core.wording import one_line


class PluginFault(Exception):
    """A plugin or extension that cannot be used: the message says why, ``__cause__`` is what it raised.

    Attributes:
        entry: whose fault it is.
    """

    def __init__(self, entry: EntryPoint, reason: str) -> None:
        super().__init__(reason)
        self.entry = entry


def load(entry: EntryPoint, extensions: Sequence[EntryPoint] = ()) -> Backend:
    """Import the plugin and its extensions and return the backend.

    Core's default ``prepare`` is registered first, the plugin next, extensions last: pluggy asks in the
    reverse order.

    Raises:
        PluginFault: something was raised, or does not fulfil the hook contract.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(default_prepare, "aligntune")
    _register(manager, entry, REQUIRED)
    for extension in extensions:
        _register(manager, extension, ())
    try:
        info = manager.hook.backend_info()
    except (Exception, SystemExit) as error:
        raise PluginFault(entry, f"backend_info raised {one_line(error)}") from error
    found = info_problems(info) or check_honours(info)
    if found:
        raise PluginFault(entry, "; ".join(found))
    return Backend(entry.name, info, entry.distribution, tuple(extensions), manager.hook)


def _register(manager: pluggy.PluginManager, entry: EntryPoint, required: Sequence[str]) -> None:
    try:
        module = entry.load()
    except (Exception, SystemExit) as error:  # a plugin may raise anything; Ctrl-C still passes
        raise PluginFault(entry, f"importing {entry.value} raised {one_line(error)}") from error
    found = problems(module, required)
    if found:
        raise PluginFault(entry, f"{entry.value}: " + "; ".join(found))
    try:
        manager.register(module, f"{entry.distribution.canonical}:{entry.group}:{entry.name}")
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginFault(entry, f"{entry.value} was refused by pluggy: {one_line(error)}") from error
