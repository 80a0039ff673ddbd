"""Curves of the two runs as PNG files, drawn from their ``metrics.jsonl``."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

from aligntune.demo.figures import column, steps
from aligntune_core.run.folder import LOSS_AND_MARGIN_PLOT, LOSS_PLOT


def missing() -> bool:
    """Whether matplotlib is not installed; then nothing is drawn."""
    return importlib.util.find_spec("matplotlib") is None


def sft(folder: Path) -> None:
    """Write ``loss.png`` into a run folder of SFT."""
    if missing():
        return
    figure = _figure(1)
    lines = steps(folder)
    _curve(figure, 1, 1, lines, "loss", "SFT: training loss")
    figure.savefig(folder / LOSS_PLOT)


def dpo(folder: Path) -> None:
    """Write ``loss_and_margin.png`` into a run folder of DPO."""
    if missing():
        return
    figure = _figure(2)
    lines = steps(folder)
    axes = _curve(figure, 2, 1, lines, "loss", "DPO: training loss")
    axes.axhline(math.log(2), linestyle=":", color="gray")
    axes.annotate(
        "ln 2: policy = reference", (lines[-1]["step"], math.log(2)), color="gray", ha="right", va="top"
    )
    _curve(figure, 2, 2, lines, "margin", "DPO: reward margin, chosen over rejected")
    figure.savefig(folder / LOSS_AND_MARGIN_PLOT)


def _figure(panels: int) -> Any:
    # pyplot is not used, as it looks for a display and keeps every figure.
    from matplotlib.figure import Figure

    return Figure(figsize=(5.5 * panels, 3.6), dpi=120, layout="constrained")


def _curve(figure: Any, panels: int, number: int, lines: list[dict[str, Any]], part: str, title: str) -> Any:
    axes = figure.add_subplot(1, panels, number)
    axes.plot([line["step"] for line in lines], column(lines, part), marker="o", markersize=3)
    axes.set(title=title, xlabel="step", ylabel=part)
    axes.grid(alpha=0.3)
    return axes
