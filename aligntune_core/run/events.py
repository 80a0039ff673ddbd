"""``metrics.jsonl``: one line an event, numbers unrounded; and the guard against a loss that is no number."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from aligntune_core.errors import NonFiniteLoss


class MetricsSink:
    """Completes an engine's events, appends them to ``path`` (None: this rank writes none) and forwards them."""

    def __init__(self, path: Path | None) -> None:
        self.last_loss: float | None = None
        self._path = path
        self._file: TextIO | None = None
        self._listeners: Sequence[Callable[[Mapping[str, Any]], None]] = ()
        self._since = time.perf_counter()

    def begin(self, *listeners: Callable[[Mapping[str, Any]], None]) -> None:
        """Training starts: start the clock that tokens per second are counted with, and forward events."""
        self._close()  # an evaluation since the last run left it open, and that run's file has been moved away
        self._listeners = listeners
        self._since = time.perf_counter()

    def end(self) -> None:
        """Training is over: close the file; a later event opens it again."""
        self._listeners = ()
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        line = dict(event)
        if "loss" in line:
            self._complete(line, time.perf_counter())
        self._write(line)
        if "loss" in line:
            self._check_finite(line)
        for listener in self._listeners:
            listener(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps(line, default=float) + "\n")
        self._file.flush()

    def _complete(self, line: dict[str, Any], now: float) -> None:
        elapsed, self._since = now - self._since, now
        tokens = line.pop("tokens", None)
        if tokens is not None:
            line["tokens"] = tokens
            line.setdefault("tokens_per_second", tokens / elapsed if elapsed > 0 else 0.0)
        self.last_loss = float(line["loss"])

    def _check_finite(self, line: Mapping[str, Any]) -> None:
        for key in ("loss", "grad_norm"):
            value = line.get(key)
            if value is not None and not math.isfinite(float(value)):
                raise NonFiniteLoss(
                    f"step {line.get('step')}: {key} is {float(value)}. Nothing was saved after this step. "
                    f"Lower learning_rate (now {line.get('learning_rate')}), set max_grad_norm, use "
                    'precision="fp32", or look for rows with extreme content. train(resume=True) goes on from the last '
                    "checkpoint, at its learning rate; a new run may start from its weights with "
                    'model_name="RUN/checkpoint-N".'
                )


def read(path: Path) -> list[dict[str, Any]]:
    """All events of a ``metrics.jsonl``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def rewind(path: Path, step: int) -> float | None:
    """Drop the lines after ``step``: a resumed run takes those steps again. The last loss that is left is returned."""
    if not path.is_file():
        return None
    lines = [line for line in read(path) if line.get("step", 0) <= step]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return next((float(line["loss"]) for line in reversed(lines) if "loss" in line), None)
