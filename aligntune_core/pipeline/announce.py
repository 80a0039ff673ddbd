"""What a run says of its rows before it trains: the sentences of the report, and the first row with its loss."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aligntune_core.algorithms import find
from aligntune_core.data import render_sequences
from aligntune_core.types import DataReport

if TYPE_CHECKING:
    from aligntune_core.data.pieces import Pieces
    from aligntune_core.pipeline.plan import Plan

SHOWN = 600
"""Characters of the first row that are shown; the middle of a longer part is left out."""
_log = logging.getLogger("aligntune.data")


def announce(plan: Plan) -> None:
    """Log what was seen in the rows, what is not learnt of them as warnings, and the first row."""
    report = plan.datasets.report
    if report is None or not plan.prepared.topology.is_main:
        return
    _announce(report, "")
    if report.template:
        _log.info("%s", report.template)
    if report.eval is not None:
        _announce(report.eval, "held out: ")
    for name, pieces in first_row(plan).items():
        _log.info("The first %s as it is trained, [[with loss]]: %s", name, marked(pieces))


def shown_rows(plan: Plan) -> Iterator[dict[str, Pieces]]:
    """The training rows in pieces, by name of their sequence; none where the backend brings its own tokenizer."""
    if plan.prepared.tokenizer is None:
        return
    algorithm = find(plan.config.algorithm)
    for row in plan.datasets.train:
        yield render_sequences(row, algorithm, plan.prepared.tokenizer, plan.config)


def first_row(plan: Plan) -> dict[str, Pieces]:
    """The first training row in pieces, by name of its sequence; empty where there is none to show."""
    return next(shown_rows(plan), {})


def marked(pieces: Pieces, limit: int = SHOWN) -> str:
    """A row as one text, its parts with loss between double brackets."""
    return "".join(f"[[{_cut(text, limit)}]]" if loss else _cut(text, limit) for text, loss in pieces)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}"


def _announce(report: DataReport, prefix: str) -> None:
    for sentence in report.saw:
        level = logging.WARNING if sentence in report.warnings else logging.INFO
        _log.log(level, "%s%s", prefix, sentence)
