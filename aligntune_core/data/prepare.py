"""The pipeline: open, recognise, convert, check, report."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aligntune_core.config import written
from aligntune_core.data import lengths
from aligntune_core.data.formats.base import Row, Shape, Wishes
from aligntune_core.data.reading.reader import Part, Reader, Tokenize
from aligntune_core.data.reading.rows import RowSource
from aligntune_core.data.recognise.columns import detect, mapping_of
from aligntune_core.data.report import bad_rows_error
from aligntune_core.data.sources.source import Opened, held_out_split, open_source
from aligntune_core.data.templates import ensure_template, marks_assistant
from aligntune_core.errors import BadRows, DataError
from aligntune_core.types import BadRow, Datasets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aligntune_core.algorithms import Algorithm
    from aligntune_core.config import Config

SAMPLE = 100
_log = logging.getLogger("aligntune.data")


def prepare_datasets(
    config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None = None
) -> Datasets:
    """Load, recognise, convert and check the rows of a run.

    Args:
        config: resolved; reads ``data``, ``model.token``, ``model.chat_template`` and ``optim.max_steps``.
        algorithm: says which formats its rows may have.
        tokenizer: of the run; gets a plain chat template where it has none.
        tokenize: (canonical rows, loss) -> how the library will see them, as ``Backend.tokenize`` says it; default:
            core's plain rules, which measure nothing without a tokenizer.

    Returns:
        Datasets: canonical rows (docs/data-formats.md), their fingerprint and a ``DataReport``.

    Raises:
        DataError: the source cannot be read, columns are missing, or rows cannot be used (``BadRows``); names each
            row by its index or file line, the column and the reason.
    """
    opened = open_source(config.data.dataset, config)
    if config.data.streaming or opened.endless:
        from aligntune_core.data.sources.streaming import prepare_stream

        return prepare_stream(config, algorithm, tokenizer, opened, tokenize)
    source = _first_rows(opened.rows(config.data.split), config.data.max_samples)
    reader = reader_for(source, config, algorithm, tokenizer, tokenize)
    train = reader.read(source)
    train = replace(train, report=replace(train.report, saw=(*train.report.saw, *opened.sentences)))
    return assemble(train, prepare_eval(config, algorithm, reader, opened))


def prepare_rows(
    rows: Any, config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None = None
) -> Any:
    """Rows that come later, as for ``Trainer.evaluate``: read whole, as those of the run were.

    Args:
        rows: whatever ``dataset_name`` takes; of several splits the held-out one is taken.
        config: of the run.
        algorithm: of the run.
        tokenizer: of the run.
        tokenize: as for ``prepare_datasets``.

    Returns:
        datasets.Dataset: canonical rows.

    Raises:
        DataError: as ``prepare_datasets``.
    """
    opened = open_source(rows, config, "dataset")
    if opened.endless:
        raise DataError("evaluation reads rows whole; give a Dataset, not an IterableDataset.")
    source = opened.rows(held_out_split(opened))
    mapping = _mapping_that_applies(config.data.column_mapping, source, algorithm)
    data = config.data.model_copy(update={"column_mapping": mapping})
    config = config.model_copy(update={"data": data})
    return reader_for(source, config, algorithm, tokenizer, tokenize).read(source).dataset


def reader_for(
    source: RowSource, config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None
) -> Reader:
    """The reader of a source that can be read more than once."""
    if not source.columns:
        raise unreadable(source)

    def rows() -> Iterable[Row]:
        return (
            row for _, batch in source.batches(source.columns) for row in batch if isinstance(row, Mapping)
        )

    shape = recognised(source.columns, _sample(source), config, algorithm, source.origin)
    return make_reader(
        shape, Wishes(sample=_sample(source), rows=rows), config, algorithm, tokenizer, tokenize
    )


def recognised(
    columns: Sequence[str], sample: Sequence[Row], config: Config, algorithm: Algorithm, origin: str
) -> Shape:
    """The format of a data set, from its columns and a few rows."""
    data = config.data
    shape = detect(columns, sample, algorithm, origin, data.column_mapping, data.text_column)
    return replace(shape, system_prompt=data.system_prompt)


def make_reader(
    shape: Shape,
    wishes: Wishes,
    config: Config,
    algorithm: Algorithm,
    tokenizer: Any,
    tokenize: Tokenize | None,
) -> Reader:
    """Decide template, loss and canonical columns of a recognised data set.

    Args:
        wishes: with the rows that may be looked at; the rest is filled in here.
    """
    data = config.data
    template = ""
    if shape.format.conversational:
        template = ensure_template(tokenizer, shape.dialogue, config.model.chat_template)
    wishes = replace(
        wishes,
        completion_only=data.completion_only_loss,
        written="data.completion_only_loss" in written(config),
        marks_assistant=marks_assistant(tokenizer),
    )
    return Reader(
        shape=replace(shape, target=shape.format.target(shape, wishes)),
        tokenize=tokenize
        or partial(lengths.tokenize, config=config, algorithm=algorithm, tokenizer=tokenizer),
        tokenizer=tokenizer,
        max_seq_length=data.max_seq_length,
        drop=data.on_bad_rows == "drop",
        template=template,
    )


def prepare_eval(config: Config, algorithm: Algorithm, reader: Reader, opened: Opened) -> Part | None:
    """The held-out rows, with the canonical columns of the training rows; None where none were asked for."""
    data = config.data
    if data.eval_dataset is None and data.eval_split is None:
        return None
    mapping = data.column_mapping
    if data.eval_dataset is not None:
        opened = open_source(data.eval_dataset, config, "eval_dataset")
    if opened.endless:
        raise DataError(
            "held-out rows are read whole; give a Dataset as eval_dataset, not an IterableDataset."
        )
    source = opened.rows(data.eval_split or held_out_split(opened), "eval_split")
    source = replace(_first_rows(source, data.max_eval_samples), origin=f"{source.origin} (held out)")
    if data.eval_dataset is not None:
        mapping = _mapping_that_applies(mapping, source, algorithm)
    shape = detect(source.columns, _sample(source), algorithm, source.origin, mapping, data.text_column)
    if set(shape.format.columns) != set(reader.shape.format.columns):
        raise DataError(
            f"{source.origin}: format {shape.name}, but the training rows are {reader.shape.name}."
        )
    shape = replace(shape, system_prompt=data.system_prompt, target=reader.shape.target)
    return replace(reader, shape=shape).read(source)


def _mapping_that_applies(
    mapping: dict[str, str] | None, source: RowSource, algorithm: Algorithm
) -> dict[str, str] | None:
    """``column_mapping``, unless it does not fit: another data set may have names of its own."""
    if not mapping:
        return None
    try:
        mapping_of(mapping, source.columns, algorithm, source.origin)
    except DataError:
        return None
    return mapping


def assemble(train: Part, held_out: Part | None) -> Datasets:
    """Training and held-out rows as one result; says where they overlap."""
    report = train.report
    if held_out is None:
        return Datasets(train=train.dataset, fingerprint=report.fingerprint, report=report)
    both = _shared(train, held_out)
    if both:
        sentence = f"{both} held-out rows are also among the training rows."
        _log.warning("%s: %s", report.source, sentence)
        report = replace(report, saw=(*report.saw, sentence))
    joined = f"{report.fingerprint}+{held_out.report.fingerprint}"
    return Datasets(
        train=train.dataset,
        eval=held_out.dataset,
        fingerprint=hashlib.sha256(joined.encode()).hexdigest()[:32],
        report=replace(report, eval=held_out.report),
    )


def _shared(train: Part, held_out: Part) -> int:
    """How many different rows are in both."""
    held: set[bytes] = set().union(*held_out.digest_batches())
    return len(set().union(*(batch & held for batch in train.digest_batches())))


def unreadable(source: RowSource) -> BadRows:
    """The error for a source of which no row could be read, so that there is nothing to recognise."""
    bad = [BadRow(source.place(i), "", row.reason) for i, row in enumerate(source.rows)]
    return bad_rows_error(source.origin, bad, len(bad), True)


def _first_rows(source: RowSource, count: int | None) -> RowSource:
    return source if count is None or count >= len(source) else source.take(range(count))


def _sample(source: RowSource) -> list[Row]:
    """The first readable rows. All columns, so that detection may look at any."""
    sample: list[Row] = []
    for _, rows in source.batches(source.columns, size=SAMPLE):
        sample += [row for row in rows if isinstance(row, Mapping)]
        if len(sample) >= SAMPLE:
            break
    return sample[:SAMPLE]
