"""The pipeline: open, recognise, convert, check, report."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from aligntune_core.data.convert import Converter, converter
from aligntune_core.data.detect import Shape, detect
from aligntune_core.data.lengths import Limits, limits_for, measure
from aligntune_core.data.messages import is_multi_turn, read_messages
from aligntune_core.data.report import BadRow, DataReport, LossOn, bad_rows_error
from aligntune_core.data.rows import RowProblem, RowSource
from aligntune_core.data.sources import Opened, held_out_split, open_source
from aligntune_core.data.table import build_dataset
from aligntune_core.data.templates import ensure_template, is_plain, marks_assistant, refuse_lost_roles
from aligntune_core.errors import DataError
from aligntune_core.types import Datasets

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm
    from aligntune_core.config import ResolvedConfig

SAMPLE = 20
_log = logging.getLogger("aligntune.data")


def prepare_datasets(config: ResolvedConfig, algorithm: Algorithm, tokenizer: Any) -> Datasets:
    """Load, recognise, convert and check the rows of a run.

    Args:
        config: resolved; reads ``data``, ``model.token``, ``model.chat_template`` and ``optim.max_steps``.
        algorithm: says which canonical columns are wanted.
        tokenizer: measures rows as the library will; gets a plain chat template where it has none. None: rows are
            converted but not measured.

    Returns:
        Datasets: canonical rows (docs/data-formats.md), their fingerprint and a ``DataReport``.

    Raises:
        DataError: the source cannot be read, columns are missing, or rows cannot be used; names each row by its
            index or file line, the column and the reason.
    """
    opened = open_source(config.data.dataset, config)
    if config.data.streaming or opened.endless:
        from aligntune_core.data.streaming import prepare_stream

        return prepare_stream(config, algorithm, tokenizer, opened)
    source = opened.rows(config.data.split)
    source = _first_rows(source, config.data.max_samples)
    reader = make_reader(config, algorithm, tokenizer, source.columns, _sample(source), source.origin, source)
    train = reader.read(source)
    held_out = prepare_eval(config, algorithm, reader, opened)
    return assemble(train, held_out)


@dataclass(frozen=True)
class Part:
    """The rows of one split, ready, with their report."""

    dataset: Any
    report: DataReport
    digests: frozenset[bytes] = frozenset()


def assemble(train: Part, held_out: Part | None) -> Datasets:
    """Training and held-out rows as one result; says where they overlap."""
    report = train.report
    fingerprint = report.fingerprint
    if held_out is not None:
        both = len(train.digests & held_out.digests)
        if both:
            sentence = f"{both} held-out rows are also among the training rows."
            _log.warning(sentence)
            report = replace(report, saw=(*report.saw, sentence))
        report = replace(report, eval=held_out.report)
        fingerprint = hashlib.sha256(f"{fingerprint}+{held_out.report.fingerprint}".encode()).hexdigest()[:32]
    return Datasets(
        train=train.dataset,
        eval=held_out.dataset if held_out is not None else None,
        fingerprint=fingerprint,
        report=report,
    )


def prepare_eval(config: ResolvedConfig, algorithm: Algorithm, reader: Reader, opened: Opened) -> Part | None:
    """The held-out rows, in the layout of the training rows; None where none were asked for."""
    data = config.data
    if data.eval_dataset is None and data.eval_split is None:
        return None
    if data.eval_dataset is not None:
        opened = open_source(data.eval_dataset, config, "eval_dataset")
    if opened.endless:
        raise DataError("eval_dataset: held-out rows are read whole; give a Dataset, not an IterableDataset.")
    split = data.eval_split or held_out_split(opened)
    source = _first_rows(opened.rows(split, "eval_split"), data.max_eval_samples)
    origin = f"{source.origin} (held out)"
    source = replace(source, origin=origin)
    mapping = data.column_mapping
    shape = detect(source.columns, _sample(source), algorithm, origin, mapping, data.text_column)
    return replace(reader, shape=shape, convert=reader.converter_for(shape)).read(source)


def _first_rows(source: RowSource, count: int | None) -> RowSource:
    return source if count is None or count >= len(source) else source.take(range(count))


def _sample(source: RowSource) -> list[Mapping[str, Any]]:
    """The first readable rows. All columns, so that detection may look at any."""
    found: list[Mapping[str, Any]] = []
    for _, rows in source.batches(source.columns, size=SAMPLE):
        found += [row for row in rows if isinstance(row, Mapping)]
        if len(found) >= SAMPLE:
            break
    return found[:SAMPLE]


@dataclass(frozen=True)
class Reader:
    """Everything decided before the rows are read, and the reading itself.

    Attributes:
        shape: the format recognised.
        convert: row -> canonical row.
        layout: canonical columns.
        loss: where the loss is.
        limits: what the length check goes by.
        tokenizer: for measuring; None: not measured.
        drop: leave bad rows out instead of raising.
        template: what is said of the chat template.
        converter_for: makes ``convert`` for another shape (held-out rows).
        notes: sentences for the report.
    """

    shape: Shape
    convert: Converter
    layout: tuple[str, ...]
    loss: LossOn
    limits: Limits
    tokenizer: Any
    drop: bool
    template: str
    converter_for: Callable[[Shape], Converter]
    notes: tuple[str, ...] = field(default=())

    def check(self, rows: Sequence[Any]) -> list[tuple[dict[str, Any] | None, int, bool, RowProblem | None]]:
        """Convert and measure rows: (canonical row, tokens, truncated, problem) of each, in order."""
        converted: list[dict[str, Any] | RowProblem] = []
        for row in rows:
            try:
                canonical = self.convert(row)
                if is_plain(self.tokenizer):
                    refuse_lost_roles(canonical)
                converted.append(canonical)
            except RowProblem as problem:
                converted.append(problem)
        good = [row for row in converted if not isinstance(row, RowProblem)]
        measured = iter(measure(good, self.tokenizer, self.limits) if self.tokenizer is not None else [])
        results: list[tuple[dict[str, Any] | None, int, bool, RowProblem | None]] = []
        for row in converted:
            if isinstance(row, RowProblem):
                results.append((None, 0, False, row))
                continue
            size = next(measured, None)
            if size is None:
                results.append((row, 0, False, None))
            else:
                results.append((row, size.tokens, size.truncated, size.problem))
        return results

    def read(self, source: RowSource) -> Part:
        """Read all rows of a source."""
        tally = _Tally()
        kept: list[int] = []
        tables: list[list[dict[str, Any]]] = []
        digests: set[bytes] = set()
        content = hashlib.sha256()
        wanted = (*self.shape.columns, *self.shape.extras.values())
        for start, rows in source.batches(wanted):
            fresh = []
            for offset, (row, tokens, truncated, problem) in enumerate(self.check(rows)):
                if problem is not None or row is None:
                    reason = problem or RowProblem("", "unreadable")
                    tally.bad.append(BadRow(source.place(start + offset), reason.column, reason.reason))
                    continue
                tally.add(tokens, truncated)
                kept.append(start + offset)
                fresh.append(row)
                digest = row_digest(row, rows[offset], self.shape.extras)
                digests.add(digest)
                content.update(digest)
            tables.append(fresh)
        if tally.bad and (not self.drop or not kept):
            raise bad_rows_error(source.origin, tally.bad, len(source), self.drop)
        if tally.bad:
            _log.warning(
                "%s: %d of %d rows dropped; first: %s",
                source.origin,
                len(tally.bad),
                len(source),
                tally.bad[0],
            )
        dataset = build_dataset(tables, self.layout, self.shape, source, kept)
        return Part(dataset, self._report(source, tally, content.hexdigest()[:32]), frozenset(digests))

    def _report(self, source: RowSource, tally: _Tally, fingerprint: str) -> DataReport:
        saw = [*self.shape.saw, *self.notes]
        if tally.truncated:
            saw.append(
                f"{tally.truncated} rows are longer than max_seq_length {self.limits.tokens} and are cut."
            )
        return DataReport(
            source=source.origin,
            format=self.shape.name,
            layout=self.layout,
            loss=self.loss,
            conversational=self.layout != ("text",),
            saw=tuple(saw),
            columns=source.columns,
            rows_given=len(source),
            rows_dropped=len(tally.bad),
            bad_rows=tuple(tally.bad),
            max_tokens=tally.longest,
            mean_tokens=round(tally.total / tally.count, 1) if tally.count else 0.0,
            truncated_rows=tally.truncated,
            template=self.template,
            fingerprint=fingerprint,
        )


@dataclass
class _Tally:
    """Counts of the rows kept, and the rows that were not."""

    bad: list[BadRow] = field(default_factory=list)
    count: int = 0
    total: int = 0
    longest: int = 0
    truncated: int = 0

    def add(self, tokens: int, truncated: bool) -> None:
        self.count += 1
        self.total += tokens
        self.longest = max(self.longest, tokens)
        self.truncated += truncated


def row_digest(row: Mapping[str, Any], given: Any, extras: Mapping[str, str]) -> bytes:
    """Hash of a canonical row and what is carried along with it."""
    carried = {name: given.get(column) for name, column in extras.items()} if extras else {}
    text = json.dumps([row, carried], ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def make_reader(
    config: ResolvedConfig,
    algorithm: Algorithm,
    tokenizer: Any,
    columns: Sequence[str],
    sample: Sequence[Mapping[str, Any]],
    origin: str,
    source: RowSource | None,
) -> Reader:
    """Decide format, layout, template and loss from the columns and a few rows.

    Args:
        source: where all rows can be looked at for conversations of several turns; None: ``sample`` decides.
    """
    data = config.data
    shape = detect(columns, sample, algorithm, origin, data.column_mapping, data.text_column)
    template = ""
    if shape.kind != "text":
        template = ensure_template(tokenizer, shape.dialogue, config.model.chat_template)
    loss, layout, notes = _loss_and_layout(config, shape, tokenizer, sample, source)

    def converter_for(other: Shape) -> Converter:
        return converter(other, data.system_prompt, layout == ("messages",))

    return Reader(
        shape=shape,
        convert=converter_for(shape),
        layout=layout,
        loss=loss,
        limits=limits_for(config, algorithm, loss),
        tokenizer=tokenizer,
        drop=data.on_bad_rows == "drop",
        template=template,
        converter_for=converter_for,
        notes=notes,
    )


def _loss_and_layout(
    config: ResolvedConfig,
    shape: Shape,
    tokenizer: Any,
    sample: Sequence[Mapping[str, Any]],
    source: RowSource | None,
) -> tuple[LossOn, tuple[str, ...], tuple[str, ...]]:
    """Where the loss is, the canonical columns, and what to say about it."""
    if shape.family == "online":
        return "none", ("prompt",), ()
    if shape.family == "preference":
        return "completion", ("prompt", "chosen", "rejected"), ()
    wanted = config.data.completion_only_loss
    if shape.kind == "text":
        return "all", ("text",), ("The loss is on every token.",)
    if shape.kind == "pair":
        if wanted is False:
            return (
                "all",
                ("prompt", "completion"),
                ("The loss is on every token (completion_only_loss=False).",),
            )
        return "completion", ("prompt", "completion"), ("The loss is on the completion only.",)
    if wanted is False:
        return "all", ("messages",), ("The loss is on every token (completion_only_loss=False).",)
    several = _several_turns(shape, sample, source)
    if several and marks_assistant(tokenizer):
        return "assistant", ("messages",), ("The loss is on every turn of the assistant.",)
    note = "The loss is on the last turn of the assistant."
    if several:
        note += (
            " Earlier turns are context: the chat template does not mark which tokens are the assistant's."
        )
    return "completion", ("prompt", "completion"), (note,)


def _several_turns(shape: Shape, sample: Sequence[Mapping[str, Any]], source: RowSource | None) -> bool:
    """Whether any conversation has more than one turn of the assistant."""
    column = shape.slots["messages"]
    batches: Any = ((0, sample),) if source is None else source.batches((column,))
    return any(
        _has_turns(row.get(column), column) for _, rows in batches for row in rows if isinstance(row, Mapping)
    )


def _has_turns(value: Any, column: str) -> bool:
    try:
        return is_multi_turn(read_messages(value, column))
    except RowProblem:
        return False  # a bad row: named when rows are checked


def peek(rows: Any, count: int = SAMPLE) -> list[Mapping[str, Any]]:
    """The first rows of a stream."""
    return [row for row in islice(rows, count) if isinstance(row, Mapping)]
