"""What loading saw, converted and refused: the part of a run that readers of a report ask about first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aligntune_core.errors import BadRows

LossOn = Literal["completion", "assistant", "all", "none"]

SHOWN = 10
STORED = 100


@dataclass(frozen=True)
class BadRow:
    """One row that cannot be used.

    Attributes:
        place: where it is: ``"row 17"`` (counted from 0 in its split) or ``"train.jsonl:18"`` (file and line).
        column: the column at fault; empty where the whole row is.
        reason: what is wrong with it.
    """

    place: str
    column: str
    reason: str

    def __str__(self) -> str:
        column = f'column "{self.column}": ' if self.column else ""
        return f"{self.place}: {column}{self.reason}"

    def as_dict(self) -> dict[str, str]:
        """The row as JSON."""
        return {"place": self.place, "column": self.column, "reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What became of one set of rows.

    Attributes:
        source: where the rows came from.
        format: the format recognised, e.g. "alpaca".
        layout: canonical columns handed to the backend, e.g. ("prompt", "completion").
        loss: where the loss is: "completion", "assistant" (each assistant turn of ``messages``), "all", or "none"
            (online algorithms make their own completions).
        conversational: whether the canonical columns hold message lists rather than text.
        text_prompts: whether the rows' prompts were plain texts, each of which became a user's message (online
            algorithms; reward functions get texts then).
        saw: sentences for people.
        columns: the columns found.
        rows_given: rows read; None while streaming.
        rows_dropped: rows left out because they cannot be used (``on_bad_rows="drop"``); None while streaming.
        bad_rows: those rows.
        max_tokens: tokens of the longest row, before truncation; 0 where no tokenizer was given or when streaming.
        mean_tokens: mean tokens of a row, before truncation.
        truncated_rows: rows longer than ``max_seq_length``.
        template: what was said about the chat template.
        fingerprint: hash of the canonical rows.
        eval: the same for the held-out rows, or None.
    """

    source: str
    format: str
    layout: tuple[str, ...]
    loss: LossOn
    conversational: bool
    text_prompts: bool = False
    saw: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows_given: int | None = 0
    rows_dropped: int | None = 0
    bad_rows: tuple[BadRow, ...] = ()
    max_tokens: int = 0
    mean_tokens: float = 0.0
    truncated_rows: int = 0
    template: str = ""
    fingerprint: str = ""
    eval: DataReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON; of the bad rows the first 100."""
        return {
            "source": self.source,
            "format": self.format,
            "layout": list(self.layout),
            "loss": self.loss,
            "conversational": self.conversational,
            "saw": list(self.saw),
            "columns": list(self.columns),
            "rows_given": self.rows_given,
            "rows_dropped": self.rows_dropped,
            "bad_rows": [row.as_dict() for row in self.bad_rows[:STORED]],
            "max_tokens": self.max_tokens,
            "mean_tokens": self.mean_tokens,
            "truncated_rows": self.truncated_rows,
            "template": self.template,
            "fingerprint": self.fingerprint,
            "eval": self.eval.as_dict() if self.eval else None,
        }


def bad_rows_error(source: str, bad: Sequence[BadRow], given: int, dropping: bool) -> BadRows:
    """The error that lists the first rows at fault and says what to do."""
    head = f"{source}: {len(bad)} of {given} rows cannot be used"
    lines = [f"  {row}" for row in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  ... and {len(bad) - SHOWN} more")
    if dropping or len(bad) == given:
        remedy = "No row is left to train on. Correct the data, or the settings that the reasons name."
    else:
        remedy = 'Correct them, or leave them out with on_bad_rows="drop".'
    return BadRows("\n".join([head, *lines, remedy]), bad)
