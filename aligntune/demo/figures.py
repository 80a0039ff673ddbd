"""Figures of a finished run, read from the files that it left."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from aligntune_core.errors import RunError
from aligntune_core.run import events, manifest
from aligntune_core.run.folder import MANIFEST, METRICS

LAST = 5
"""Steps at the end over which the loss is averaged: single batches of four rows differ too much."""


def steps(folder: Path) -> list[dict[str, Any]]:
    """The training steps in a run's ``metrics.jsonl``."""
    return [line for line in events.read(folder / METRICS) if "loss" in line]


def column(lines: list[dict[str, Any]], part: str) -> list[float]:
    """The values of the key that holds ``part`` in its name: backends name their metrics a little differently."""
    key = next((key for key in lines[0] if part in key), None) if lines else None
    return [] if key is None else [float(line[key]) for line in lines]


def of_run(folder: Path) -> dict[str, Any]:
    """Backend, steps, seconds and losses of one run.

    ``last_loss`` is the mean of the last steps, five at most and a quarter of the run at most.
    """
    losses = column(steps(folder), "loss")
    record = manifest.read(folder)
    if record is None:
        raise RunError(f"{folder} holds no {MANIFEST}: the run did not get so far")
    last = max(1, min(LAST, len(losses) // 4))
    return {
        "folder": str(folder),
        "backend": record.backend,
        "steps": len(losses),
        "seconds": record.training_time,
        "first_loss": losses[0],
        "last_loss": fmean(losses[-last:]),
    }
