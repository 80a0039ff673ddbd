"""Reading all rows of a source: convert, check, measure, count."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aligntune_core.data.formats.convert import Converter
from aligntune_core.data.formats.layout import TEXT, Target
from aligntune_core.data.lengths import Limits, Measured, measure
from aligntune_core.data.recognise.detect import Shape
from aligntune_core.data.report import bad_rows_error
from aligntune_core.data.rows import RowProblem, RowSource
from aligntune_core.data.table import build_dataset, to_table
from aligntune_core.data.templates import is_plain, refuse_lost_roles
from aligntune_core.data.tokens import unshared_prompt
from aligntune_core.types import BadRow, DataReport

_log = logging.getLogger("aligntune.data")


@dataclass(frozen=True)
class Part:
    """The rows of one split, ready, with their report and a hash of each."""

    dataset: Any
    report: DataReport
    digests: frozenset[bytes] = frozenset()


@dataclass(frozen=True)
class Checked:
    """One row after the checks: canonical and measured, or with its problem."""

    row: dict[str, Any]
    size: Measured

    @property
    def problem(self) -> RowProblem | None:
        """Why the row cannot be used, or None."""
        return self.size.problem


@dataclass(frozen=True)
class Reader:
    """Everything decided before the rows are read, and the reading itself.

    Attributes:
        shape: the format recognised.
        converter_for: shape -> function from a row to its canonical form.
        target: where the loss is, and the canonical columns.
        limits: what the length check goes by.
        tokenizer: for measuring; None: not measured.
        drop: leave bad rows out instead of raising.
        template: what is said of the chat template.
    """

    shape: Shape
    converter_for: Callable[[Shape], Converter]
    target: Target
    limits: Limits
    tokenizer: Any
    drop: bool
    template: str

    def check(self, rows: Sequence[Any]) -> list[Checked]:
        """Convert and measure rows, in order."""
        convert = self.converter_for(self.shape)
        plain = is_plain(self.tokenizer)
        converted: list[dict[str, Any] | RowProblem] = []
        for row in rows:
            try:
                canonical = convert(row)
                if plain and "text" not in canonical:
                    refuse_lost_roles(canonical)
                converted.append(canonical)
            except RowProblem as problem:
                converted.append(problem)
        good = [row for row in converted if not isinstance(row, RowProblem)]
        unmeasured = [Measured()] * len(good)
        sizes = iter(unmeasured if self.tokenizer is None else measure(good, self.tokenizer, self.limits))
        return [
            Checked({}, Measured(problem=row)) if isinstance(row, RowProblem) else Checked(row, next(sizes))
            for row in converted
        ]

    def read(self, source: RowSource) -> Part:
        """Read all rows of a source.

        Raises:
            BadRows: some cannot be used, and they are not to be dropped, or none is left.
        """
        tally = Tally()
        kept: list[int] = []
        tables: list[Any] = []
        first: dict[str, Any] = {}
        digests: list[bytes] = []
        for start, rows in source.batches((*self.shape.columns, *self.shape.extras.values())):
            fresh: list[dict[str, Any]] = []
            for offset, checked in enumerate(self.check(rows)):
                if checked.problem is not None:
                    tally.bad.append(_bad(source.place(start + offset), checked.problem))
                    continue
                tally.add(checked)
                kept.append(start + offset)
                fresh.append(checked.row)
                digests.append(row_digest(checked.row, rows[offset], self.shape.extras))
            first = first or next(iter(fresh), {})
            tables.append(to_table(fresh, self.target.columns))
        if tally.bad and (not self.drop or not kept):
            raise bad_rows_error(source.origin, tally.bad, len(source), self.drop)
        if tally.bad:
            counts = f"{len(tally.bad)} of {len(source)} rows"
            _log.warning("%s: %s dropped; the first: %s", source.origin, counts, tally.bad[0])
        said = self._sentences(tally, first)
        fingerprint = hashlib.sha256(b"".join(digests)).hexdigest()[:32]
        report = self.report(source.origin, source.columns, said, tally, len(source), fingerprint)
        dataset = build_dataset(tables, self.shape, source, kept, fingerprint)
        return Part(dataset, report, frozenset(digests))

    def report(
        self,
        origin: str,
        columns: Sequence[str],
        said: Sequence[str],
        tally: Tally | None = None,
        given: int | None = None,
        fingerprint: str = "",
    ) -> DataReport:
        """The report on a source; without ``tally`` on one whose rows are still to come."""
        counts = tally or Tally()
        return DataReport(
            source=origin,
            format=self.shape.name,
            layout=self.target.columns,
            loss=self.target.loss,
            conversational=self.target.columns != TEXT,
            text_prompts=self.target.text_prompts,
            saw=(*self.shape.saw, *((self.target.said,) if self.target.said else ()), *said),
            columns=tuple(columns),
            rows_given=given,
            rows_dropped=len(counts.bad) if tally else None,
            bad_rows=tuple(counts.bad),
            max_tokens=counts.longest,
            mean_tokens=round(counts.total / counts.count, 1) if counts.count else 0.0,
            truncated_rows=counts.truncated,
            template=self.template,
            fingerprint=fingerprint,
        )

    def _sentences(self, tally: Tally, first: dict[str, Any]) -> list[str]:
        """What people should know of the rows as a whole."""
        said = []
        if tally.truncated:
            said.append(
                f"{tally.truncated} rows are longer than max_seq_length {self.limits.tokens} and are cut."
            )
        if tally.context_turns and self.target.loss == "completion":
            said.append(
                f"{tally.context_turns} rows have earlier turns of the assistant: context, without loss."
            )
        if tally.long_replies:
            said.append(
                f"{tally.long_replies} rows go on for several turns where chosen and rejected part; the loss is on all "
                "of them."
            )
        left_over = unshared_prompt(self.tokenizer, first) if self.tokenizer is not None else ""
        if left_over and self.target.loss == "completion":
            said.append(
                f"The chat template ends a prompt with {left_over!r}, but not where a reply follows: the model is "
                "trained on a context that differs from the one at inference."
            )
        return said


@dataclass
class Tally:
    """Counts of the rows kept, and the rows that were not."""

    bad: list[BadRow] = field(default_factory=list)
    count: int = 0
    total: int = 0
    longest: int = 0
    truncated: int = 0
    context_turns: int = 0
    long_replies: int = 0

    def add(self, checked: Checked) -> None:
        """Count one row."""
        row, size = checked.row, checked.size
        self.count += 1
        self.total += size.tokens
        self.longest = max(self.longest, size.tokens)
        self.truncated += size.truncated
        self.context_turns += any(message["role"] == "assistant" for message in row.get("prompt", ()))
        self.long_replies += any(len(row.get(side, ())) > 1 for side in ("chosen", "rejected"))


def _bad(place: str, problem: RowProblem) -> BadRow:
    return BadRow(place, problem.column, problem.reason)


def row_digest(row: Mapping[str, Any], given: Any, extras: Mapping[str, str]) -> bytes:
    """Hash of a canonical row and what is carried along with it."""
    carried = {name: given.get(column) for name, column in extras.items()} if extras else {}
    text = json.dumps([row, carried], ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
