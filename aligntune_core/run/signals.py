"""Ctrl-C and SIGTERM ask a run to save and stop; a second Ctrl-C ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

logger = logging.getLogger("aligntune")


class StopFlag:
    """Context manager that turns signals into a reason to stop, and passes it on to ``on_request``.

    Handlers are installed in the main thread only (Python allows no other) and restored on exit.
    """

    def __init__(self, on_request: Callable[[str], None] | None = None) -> None:
        self.reason: str | None = None
        self._on_request = on_request
        self._previous: dict[int, Any] = {}

    def __call__(self) -> str | None:
        return self.reason

    def request(self, reason: str) -> None:
        """Ask the run to save and stop at the next step."""
        self.reason = self.reason or reason
        if self._on_request:
            self._on_request(self.reason)

    def __enter__(self) -> StopFlag:
        self.reason = None
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.request(signal.Signals(number).name)
        logger.warning("%s: saving a checkpoint, then stopping. Ctrl-C again stops at once.", self.reason)
