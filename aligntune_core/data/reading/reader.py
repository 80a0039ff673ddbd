"""Reading all rows of a source: convert, check, measure, count."""

from __future__ import annotations

import hashlib
import json
import logging
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aligntune_core.data.formats.base import CanonicalRow, RowProblem, Shape
from aligntune_core.data.reading.rows import Broken, RowSource
from aligntune_core.data.reading.spool import Spool
from aligntune_core.data.reading.table import build_dataset, to_table
from aligntune_core.data.report import bad_rows_error
from aligntune_core.data.templates import is_plain, refuse_lost_roles
from aligntune_core.data.tokens import unshared_prompt
from aligntune_core.errors import DataError
from aligntune_core.types import BadRow, DataReport, LossOn, RowTokens

Tokenize = Callable[[Sequence[Mapping[str, Any]], LossOn], Sequence[RowTokens]]

_log = logging.getLogger("aligntune.data")


@dataclass(frozen=True)
class Part:
    """The rows of one split, ready, with their report and a hash of each."""

    dataset: Any
    report: DataReport
    digests: Any = None

    def digest_batches(self) -> Iterator[set[bytes]]:
        """The hashes of the rows, a batch at a time; none of a stream."""
        for batch in () if self.digests is None else self.digests.to_batches():
            yield set(batch.column(0).to_pylist())


@dataclass(frozen=True)
class Checked:
    """One row of the source after the checks: the canonical rows that it gives, or its problem."""

    rows: tuple[CanonicalRow, ...] = ()
    tokens: tuple[RowTokens, ...] = ()
    problem: RowProblem | None = None


@dataclass(frozen=True)
class Reader:
    """Everything decided before the rows are read, and the reading itself.

    Attributes:
        shape: the format recognised, and what its rows become.
        tokenize: (canonical rows, loss) -> how the library will see them.
        tokenizer: renders a row where people should know what it does to it; None: the backend has its own way.
        max_seq_length: tokens of a row, for the report.
        drop: leave bad rows out instead of raising.
        template: what to say of the chat template.
    """

    shape: Shape
    tokenize: Tokenize
    tokenizer: Any
    max_seq_length: int
    drop: bool
    template: str

    def check(self, rows: Sequence[Any]) -> list[Checked]:
        """Convert and measure rows, in order."""
        converted = [self._converted(row) for row in rows]
        flat = [row for entry in converted for row in entry.rows]
        tokens = iter(self.tokenize(flat, self.shape.target.loss) if flat else ())
        return [self._judged(entry, [next(tokens) for _ in entry.rows]) for entry in converted]

    def _converted(self, row: Any) -> Checked:
        """The canonical rows of one row."""
        try:
            if isinstance(row, Broken):
                raise RowProblem("", row.reason)
            made = tuple(self.shape.format.rows(row, self.shape))
            if not made:
                raise RowProblem("", f"gives no row to train on (format {self.shape.name})")
            for canonical in made:
                self._require_columns(canonical)
                if is_plain(self.tokenizer):
                    refuse_lost_roles(canonical)
        except RowProblem as problem:
            return Checked(problem=problem)
        return Checked(made)

    def _require_columns(self, row: CanonicalRow) -> None:
        if row.keys() != set(self.shape.target.columns):
            raise DataError(
                f'format "{self.shape.format.name}" made a row with the columns {", ".join(row)}; it must have '
                f"{', '.join(self.shape.target.columns)}. Report it to the authors of the format."
            )

    @staticmethod
    def _judged(entry: Checked, tokens: Sequence[RowTokens]) -> Checked:
        """A row is used whole or not at all: what one of its rows lacks would be missing from the others' sense."""
        bad = next((row for row in tokens if row.problem), None)
        if entry.problem is not None or bad is None:
            return replace(entry, tokens=tuple(tokens))
        return Checked(problem=RowProblem(bad.column, bad.problem))

    def read(self, source: RowSource) -> Part:
        """Read all rows of a source.

        Raises:
            BadRows: some cannot be used, and they are not to be dropped, or none is left.
        """
        tally, kept = Tally(), array("q")
        canonical, digests = Spool(), Spool()
        first: CanonicalRow = {}
        fingerprint = hashlib.sha256()
        for start, rows in source.batches((*self.shape.slots.values(), *self.shape.extras.values())):
            fresh: list[CanonicalRow] = []
            tokens: list[Mapping[str, Any] | None] = []
            hashes: list[bytes] = []
            for offset, entry in enumerate(self.check(rows)):
                if entry.problem is not None:
                    tally.bad.append(_bad(source.place(start + offset), entry.problem))
                    continue
                tally.add(entry)
                kept.extend([start + offset] * len(entry.rows))
                fresh += entry.rows
                tokens += [row.columns for row in entry.tokens]
                hashes += [row_digest(row, rows[offset], self.shape.extras) for row in entry.rows]
            if not fresh:
                continue
            first = first or fresh[0]
            fingerprint.update(b"".join(hashes))
            canonical.add(to_table(fresh, self.shape, tokens))
            digests.add(_digest_table(hashes))
        if tally.bad and (not self.drop or not kept):
            raise bad_rows_error(source.origin, tally.bad, len(source), self.drop)
        if tally.bad:
            counts = f"{len(tally.bad)} of {len(source)} rows"
            _log.warning("%s: %s dropped; the first: %s", source.origin, counts, tally.bad[0])
        digest = fingerprint.hexdigest()[:32]
        sentences = self._sentences(tally, first)
        report = self.report(source.origin, source.columns, sentences, tally, len(source), digest)
        return Part(build_dataset(canonical, self.shape, source, kept, digest), report, digests.table())

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
        return DataReport(
            source=origin,
            format=self.shape.name,
            layout=target.columns,
            loss=target.loss,
            conversational=self.shape.format.conversational,
            text_prompts=target.text_prompts,
            saw=(*self.shape.saw, *((target.sentence,) if target.sentence else ()), *sentences),
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


@dataclass
class Tally:
    """Counts of the rows kept, and the rows that were not.

    Attributes:
        bad: rows of the source that cannot be used.
        sources: rows of the source that can.
        count: canonical rows that they give.
    """

    bad: list[BadRow] = field(default_factory=list)
    sources: int = 0
    count: int = 0
    total: int = 0
    longest: int = 0
    truncated: int = 0
    context_turns: int = 0
    long_replies: int = 0

    def add(self, entry: Checked) -> None:
        """Count one row of the source."""
        self.sources += 1
        for row, tokens in zip(entry.rows, entry.tokens, strict=True):
            self.count += 1
            self.total += tokens.length
            self.longest = max(self.longest, tokens.length)
            self.truncated += tokens.truncated
            self.context_turns += any(message["role"] == "assistant" for message in row.get("prompt", ()))
            self.long_replies += any(len(row.get(side, ())) > 1 for side in ("chosen", "rejected"))


def _bad(place: str, problem: RowProblem) -> BadRow:
    return BadRow(place, problem.column, problem.reason)


def _digest_table(hashes: Sequence[bytes]) -> Any:
    import pyarrow as pa

    return pa.table([pa.array(hashes, pa.binary(16))], names=["digest"])


def row_digest(row: Mapping[str, Any], source: Any, extras: Mapping[str, str]) -> bytes:
    """Hash of a canonical row and what is carried along with it from the row of the source."""
    carried = {name: source.get(column) for name, column in extras.items()} if extras else {}
    text = json.dumps([row, carried], ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
