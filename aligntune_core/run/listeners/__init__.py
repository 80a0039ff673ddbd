"""Listeners to the events of a run, one file each.

A listener takes each completed event, a line of ``metrics.jsonl``, on the process that writes. Installed distributions
add theirs in the entry-point group ``aligntune.listeners``: a factory that is called with the resolved configuration
and the run folder, and returns the listener, or None for a run that it has no interest in. A tracker is one function.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aligntune_core.entrypoints import entry_points
from aligntune_core.wording import one_line

GROUP = "aligntune.listeners"

Listener = Callable[[Mapping[str, Any]], None]

logger = logging.getLogger("aligntune")


class Guarded:
    """Guards a listener of another distribution: when it raises it is left out with a warning, and the run goes on."""

    def __init__(self, name: str, listener: Listener) -> None:
        self._name = name
        self._listener: Listener | None = listener

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self._listener is None:
            return
        try:
            self._listener(dict(event))
        except Exception as error:  # a tracker that fails must not end a run of hours
            self._listener = None
            logger.warning("listener %s hears no more of this run, it raised %s", self._name, one_line(error))


def installed(config: Any, output_dir: Path) -> list[Listener]:
    """The listeners that installed distributions bring for this run.

    Raises:
        Exception: whatever a factory raises, with a note that names it: nothing has been trained yet.
    """
    listeners: list[Listener] = []
    for entry in entry_points(GROUP):
        name = f'"{entry.name}" of {entry.distribution}'
        try:
            listener = entry.load()(config, output_dir)
        except Exception as error:
            error.add_note(f"raised by the listener {name} before training")
            raise
        if listener is not None:
            listeners.append(Guarded(name, listener))
    return listeners
