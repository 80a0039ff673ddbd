"""Reading all rows of a source: convert, check, measure, count."""

from __future__ import annotations

import hashlib
import json
import logging
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aligntune_core.data import cells
from aligntune_core.data.columns import shown
from aligntune_core.data.conversations import message_keys
from aligntune_core.data.ends import Ending
from aligntune_core.data.formats.base import TOOLS, CanonicalRow, RowProblem, Shape
from aligntune_core.data.rows import Broken, RowSource
from aligntune_core.data.tables import Canonical, Extras, carried
from aligntune_core.data.templates import is_plain, refuse_lost_roles
from aligntune_core.data.tokens import unshared_prompt
from aligntune_core.data.toolcalls import with_texts
from aligntune_core.data.unused import Policy, refuse_keys, unused
from aligntune_core.errors import BadRows, DataError
from aligntune_core.types import BadRow, DataReport, LossOn, RowTokens

Tokenize = Callable[[Sequence[Mapping[str, Any]], LossOn], Sequence[RowTokens]]

SHOWN = 10
_DIGEST = 16
_log = logging.getLogger("aligntune.data")


@dataclass(frozen=True)
class Part:
    """The rows of one split, ready, with their report and the hashes of all of them, end to end; none of a stream."""

    dataset: Any
    report: DataReport
    digests: bytes = b""

    def hashes(self) -> Iterator[bytes]:
        """The hash of each row."""
        return (self.digests[i : i + _DIGEST] for i in range(0, len(self.digests), _DIGEST))


@dataclass
class Checked:
    """One row of the source after the checks: the canonical rows that it gives, or its problem."""

    rows: Sequence[CanonicalRow] = ()
    tokens: Sequence[RowTokens] = ()
    problem: RowProblem | None = None


@dataclass
class Tally:
    """Counts of the rows kept, and the rows that were not."""

    bad: list[BadRow] = field(default_factory=list)  # rows of the source that cannot be used
    sources: int = 0  # rows of the source that can
    count: int = 0  # canonical rows that they give
    total: int = 0
    longest: int = 0
    truncated: int = 0
    context_turns: int = 0
    long_replies: int = 0
    remarks: Counter[str] = field(default_factory=Counter)  # what is not learnt of a row -> how many rows
    keys: dict[str, None] = field(default_factory=dict)  # keys of messages that nobody reads

    def add(self, entry: Checked, index: int, source: RowSource) -> None:
        """Count one row of the source."""
        if entry.problem is not None:
            self.bad.append(BadRow(source.place(index), entry.problem.column, entry.problem.reason))
            return
        self.sources += 1
        for row, tokens in zip(entry.rows, entry.tokens, strict=True):
            self.count += 1
            self.total += tokens.length
            self.longest = max(self.longest, tokens.length)
            self.truncated += tokens.truncated
            if tokens.remark:
                self.remarks[tokens.remark] += 1
            self.context_turns += any(m["role"] == "assistant" for m in _messages(row, "prompt"))
            self.long_replies += any(len(_messages(row, side)) > 1 for side in ("chosen", "rejected"))


def _messages(row: CanonicalRow, column: str) -> Sequence[Any]:
    """The messages of a column; none where it is not there, or holds a rendered text."""
    value = row.get(column, ())
    return () if isinstance(value, str) else value


@dataclass(frozen=True)
class Reader:
    """Everything decided before the rows are read, and the reading itself."""

    shape: Shape  # the format recognised, and what its rows become
    tokenize: Tokenize  # (canonical rows, loss) -> how the library will see them
    # renders a row where people should know what it does to it; None: the backend has its own way
    tokenizer: Any
    max_seq_length: int  # tokens of a row, for the report
    drop: bool  # leave bad rows out instead of raising
    template: str  # what to say of the chat template
    ending: Ending  # what to say of the end of replies
    policy: Policy = "warn"  # what the user wants of columns and keys that nobody reads
    text_arguments: bool = False  # whether the chat template takes arguments of calls as JSON texts only
    # whether rows are said to be rendered already, so that it is no warning that they are
    rendered: bool = False

    def check(self, rows: Sequence[Any]) -> list[Checked]:
        """Convert and measure rows, in order. A row is used whole, with all that it gives, or not at all."""
        entries = [self._converted(row) for row in rows]
        flat = [row for entry in entries for row in entry.rows]
        tokens = iter(self.tokenize(flat, self.shape.target.loss) if flat else ())
        for entry in entries:
            entry.tokens = [next(tokens) for _ in entry.rows]
            bad = next((row for row in entry.tokens if row.problem), None)
            if bad is not None:
                entry.rows, entry.tokens = (), ()
                entry.problem = RowProblem(bad.column, bad.problem)
        return entries

    def _converted(self, row: Any) -> Checked:
        """The canonical rows of one row."""
        try:
            if isinstance(row, Broken):
                raise RowProblem("", row.reason)
            made = list(self.shape.format.rows(row, self.shape))
            if not made:
                raise RowProblem("", f"gives no row to train on (format {self.shape.name})")
            for canonical in made:
                if self.text_arguments:
                    canonical.update(_with_text_arguments(canonical))
                if self.shape.columns_made != self.shape.target.columns:
                    canonical[TOOLS] = cells.tools(row, self.shape)
                if canonical.keys() != set(self.shape.columns_made):
                    raise DataError(
                        f'format "{self.shape.format.name}" made a row with the columns {", ".join(canonical)}; it '
                        f"must have {', '.join(self.shape.target.columns)}. Report it to the authors of the format."
                    )
                if is_plain(self.tokenizer):
                    refuse_lost_roles(canonical)
        except RowProblem as problem:
            return Checked(problem=problem)
        return Checked(made)

    def read(self, source: RowSource) -> Part:
        """Read all rows of a source.

        Raises:
            BadRows: some cannot be used, and they are not to be dropped, or none is left.
        """
        from datasets import Dataset, concatenate_datasets

        tally, kept, digests, first = Tally(), array("q"), bytearray(), dict[str, Any]()
        canonical, beside, extras = Canonical(self.shape), Extras(self.shape), self.shape.extras
        for start, rows in source.batches((*self.shape.slots.values(), *extras.values())):
            entries = list(zip(range(start, start + len(rows)), rows, self.check(rows), strict=True))
            for index, row, entry in entries:
                tally.add(entry, index, source)
                if entry.problem is None:
                    tally.keys.update(dict.fromkeys(message_keys(row, self.shape)))
            fresh = [canon for _, _, entry in entries for canon in entry.rows]
            if not fresh:
                continue
            first = first or fresh[0]
            tokens = [row.columns for _, _, entry in entries for row in entry.tokens]
            canonical.add(fresh, tokens)
            origins = [(index, row) for index, row, entry in entries for _ in entry.rows]
            for canon, (_, row) in zip(fresh, origins, strict=True):
                digests += row_digest(canon, row, extras)
            if extras and source.is_dataset:
                kept.extend(index for index, _ in origins)
            elif extras:
                beside.add([row for _, row in origins])
        if tally.bad and (not self.drop or not tally.count):
            raise bad_rows_error(source.origin, tally.bad, len(source), self.drop)
        if tally.bad:
            counts = f"{len(tally.bad)} of {len(source)} rows"
            _log.warning("%s: %s dropped; the first: %s", source.origin, counts, tally.bad[0])
        # The ``datasets`` library would hash the rows once more.
        fingerprint = hashlib.sha256(digests).hexdigest()[:32]
        dataset = Dataset(canonical.table(), fingerprint=fingerprint)
        if extras:
            columns = carried(source.rows, extras, kept) if source.is_dataset else Dataset(beside.table())
            dataset = concatenate_datasets([dataset, columns], axis=1)
        sentences = self._sentences(tally, first)
        report = self.report(source.origin, source.columns, sentences, tally, len(source), fingerprint)
        return Part(dataset, report, bytes(digests))

    def report(
        self,
        origin: str,
        columns: Sequence[str],
        sentences: Sequence[str],
        tally: Tally | None = None,
        given: int | None = None,
        fingerprint: str = "",
    ) -> DataReport:
        """The report on a source; without ``tally`` on one whose rows are still to come."""
        counts, target = tally or Tally(), self.shape.target
        refuse_keys(origin, counts.keys, self.policy)
        spare = unused(self.shape)
        idle = [f"Not used: {shown(spare)}."] if spare else []
        if counts.keys:
            idle.append(f"Not used of messages: {shown(counts.keys)}.")
        less = [f"{count} rows: {remark}." for remark, count in counts.remarks.items()]
        loud = [target.sentence] if target.warning else []
        ends = [self.ending.sentence] if self.ending.sentence else []
        loud += ends if self.ending.warning else []
        warnings = [*(() if self.policy == "ignore" else idle), *loud, *(() if self.rendered else less)]
        return DataReport(
            source=origin,
            format=self.shape.name,
            layout=target.columns,
            loss=target.loss,
            conversational=self.shape.format.conversational,
            text_prompts=target.text_prompts,
            saw=(
                *self.shape.saw,
                *idle,
                *ends,
                *((target.sentence,) if target.sentence else ()),
                *less,
                *sentences,
            ),
            warnings=tuple(warnings),
            columns=tuple(columns),
            rows_given=given,
            rows_dropped=len(counts.bad) if tally else None,
            rows_made=counts.count if tally else None,
            bad_rows=tuple(counts.bad),
            max_tokens=counts.longest,
            mean_tokens=round(counts.total / counts.count, 1) if counts.count else 0.0,
            truncated_rows=counts.truncated,
            template=self.template,
            fingerprint=fingerprint,
        )

    def _sentences(self, tally: Tally, first: CanonicalRow) -> list[str]:
        """What people should know of the rows as a whole."""
        sentences = []
        if tally.count != tally.sources:
            sentences.append(f"{tally.sources} rows give {tally.count} to train on.")
        if tally.truncated:
            sentences.append(
                f"{tally.truncated} rows are longer than max_seq_length {self.max_seq_length} and are cut."
            )
        if tally.context_turns and self.shape.target.loss == "completion":
            sentences.append(
                f"{tally.context_turns} rows have earlier turns of the assistant: context, without loss."
            )
        if tally.long_replies:
            sentences.append(
                f"{tally.long_replies} rows go on for several turns where chosen and rejected part; the loss is on all "
                "of them."
            )
        left_over = unshared_prompt(self.tokenizer, first) if self.tokenizer is not None else ""
        if left_over and self.shape.target.loss == "completion":
            sentences.append(
                f"The chat template ends a prompt with {left_over!r}, but not where a reply follows: the model is "
                "trained on a context that differs from the one at inference."
            )
        return sentences


def _with_text_arguments(row: CanonicalRow) -> CanonicalRow:
    """The columns of a row that hold calls of tools, their arguments as JSON texts."""
    return {
        column: with_texts(value)
        for column, value in row.items()
        if isinstance(value, list) and any(isinstance(m, dict) and "tool_calls" in m for m in value)
    }


def row_digest(row: Mapping[str, Any], source: Any, extras: Mapping[str, str]) -> bytes:
    """Hash of a canonical row and what is carried along with it from the row of the source."""
    carried = {name: source.get(column) for name, column in extras.items()}
    text = json.dumps([row, carried], ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


def bad_rows_error(source: str, bad: Sequence[BadRow], given: int, dropping: bool) -> BadRows:
    """The error that lists the first rows at fault and says what to do."""
    lines = [f"{source}: {len(bad)} of {given} rows cannot be used", *(f"  {row}" for row in bad[:SHOWN])]
    if len(bad) > SHOWN:
        lines.append(f"  ... and {len(bad) - SHOWN} more")
    if dropping or len(bad) == given:
        lines.append("No row is left to train on. Correct the data, or the settings that the reasons name.")
    else:
        lines.append('Correct them, or leave them out with on_bad_rows="drop".')
    return BadRows("\n".join(lines), bad)
