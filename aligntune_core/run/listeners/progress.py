"""The progress bar of a run: step, loss, learning rate, tokens per second, time left."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from aligntune_core.run.topology import is_main

logger = logging.getLogger("aligntune")

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Draws on a terminal; elsewhere it logs a line now and then. ``total``: optimiser steps; None where unknown."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total = title, total
        self._bar: Any = None
        self._task: Any = None
        self._last = time.monotonic()

    def __enter__(self) -> Progress:
        if is_main() and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, figures="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one completed event."""
        if "loss" not in event or not is_main():
            return
        figures = f"loss {event['loss']:.4f}"
        if event.get("learning_rate") is not None:
            figures += f"  lr {event['learning_rate']:.2e}"
        if event.get("tokens_per_second"):
            figures += f"  {event['tokens_per_second']:.0f} tokens/s"
        step = event.get("step", 0)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=figures)
        elif time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES or step == self._total:
            self._last = time.monotonic()
            logger.info("%s: step %s of %s  %s", self._title, step, self._total or "?", figures)
