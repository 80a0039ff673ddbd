"""The pipeline: open, recognise, convert, check, report."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aligntune_core.config import written
from aligntune_core.data.formats.convert import Converter, converter
from aligntune_core.data.formats.layout import TEXT, WHOLE, target_of
from aligntune_core.data.lengths import limits_for
from aligntune_core.data.reader import Part, Reader
from aligntune_core.data.recognise.detect import Shape, detect, family_of
from aligntune_core.data.recognise.mapping import direction
from aligntune_core.data.report import bad_rows_error
from aligntune_core.data.rows import RowSource
from aligntune_core.data.sources.source import Opened, held_out_split, open_source
from aligntune_core.data.templates import ensure_template
from aligntune_core.errors import BadRows, DataError
from aligntune_core.types import BadRow, Datasets

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm
    from aligntune_core.config import Config

SAMPLE = 100
_log = logging.getLogger("aligntune.data")


def prepare_datasets(config: Config, algorithm: Algorithm, tokenizer: Any) -> Datasets:
    """Load, recognise, convert and check the rows of a run.

    Args:
        config: resolved; reads ``data``, ``model.token``, ``model.chat_template`` and ``optim.max_steps``.
        algorithm: says which canonical columns are wanted.
        tokenizer: measures rows as the library will; gets a plain chat template where it has none. None: rows are
            converted but not measured.

    Returns:
        Datasets: canonical rows (docs/data-formats.md), their fingerprint and a ``DataReport``.

    Raises:
        DataError: the source cannot be read, columns are missing, or rows cannot be used (``BadRows``); names each
            row by its index or file line, the column and the reason.
    """
    opened = open_source(config.data.dataset, config)
    if config.data.streaming or opened.endless:
        from aligntune_core.data.sources.streaming import prepare_stream

        return prepare_stream(config, algorithm, tokenizer, opened)
    source = _first_rows(opened.rows(config.data.split), config.data.max_samples)
    if not source.columns:
        raise unreadable(source)
    reader = make_reader(config, algorithm, tokenizer, source.columns, _sample(source), source.origin, source)
    train = reader.read(source)
    train = replace(train, report=replace(train.report, saw=(*train.report.saw, *opened.said)))
    return assemble(train, prepare_eval(config, algorithm, reader, opened))


def prepare_rows(rows: Any, config: Config, algorithm: Algorithm, tokenizer: Any) -> Any:
    """Rows that come later, as for ``Trainer.evaluate``: read whole, as those of the run were.

    Args:
        rows: whatever ``dataset_name`` takes; of several splits the held-out one is taken.
        config: of the run.
        algorithm: of the run.
        tokenizer: of the run.

    Returns:
        datasets.Dataset: canonical rows.

    Raises:
        DataError: as ``prepare_datasets``.
    """
    opened = open_source(rows, config, "dataset")
    if opened.endless:
        raise DataError("evaluation reads rows whole; give a Dataset, not an IterableDataset.")
    source = opened.rows(held_out_split(opened))
    if not source.columns:
        raise unreadable(source)
    mapping = _mapping_that_applies(config.data.column_mapping, source, algorithm)
    data = config.data.model_copy(update={"column_mapping": mapping})
    config = config.model_copy(update={"data": data})
    reader = make_reader(config, algorithm, tokenizer, source.columns, _sample(source), source.origin, source)
    return reader.read(source).dataset


def make_reader(
    config: Config,
    algorithm: Algorithm,
    tokenizer: Any,
    columns: Sequence[str],
    sample: Sequence[Mapping[str, Any]],
    origin: str,
    source: RowSource | None,
) -> Reader:
    """Decide format, template, loss and canonical columns from the columns and a few rows.

    Args:
        source: where all rows can be looked at for conversations of several turns; None: ``sample`` decides.
    """
    data = config.data
    shape = detect(columns, sample, algorithm, origin, data.column_mapping, data.text_column)
    if shape.kind == "text" and data.completion_only_loss and "data.completion_only_loss" in written(config):
        raise DataError(
            f"{origin}: completion_only_loss=True needs rows with a completion; these are plain text. Leave it out, or "
            "give prompt and completion."
        )
    template = ""
    if shape.kind != "text":
        template = ensure_template(tokenizer, shape.dialogue, config.model.chat_template)
    target = target_of(shape, data.completion_only_loss, tokenizer, sample, source)

    def converter_for(other: Shape) -> Converter:
        return converter(other, data.system_prompt, target.columns == WHOLE)

    return Reader(
        shape=shape,
        converter_for=converter_for,
        target=target,
        limits=limits_for(config, algorithm, target.loss),
        tokenizer=tokenizer,
        drop=data.on_bad_rows == "drop",
        template=template,
    )


def prepare_eval(config: Config, algorithm: Algorithm, reader: Reader, opened: Opened) -> Part | None:
    """The held-out rows, in the layout of the training rows; None where none were asked for."""
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
    if (shape.kind == "text") != (reader.target.columns == TEXT):
        raise DataError(
            f"{source.origin}: format {shape.name}, but the training rows are {reader.shape.name}."
        )
    return replace(reader, shape=shape).read(source)


def _mapping_that_applies(
    mapping: dict[str, str] | None, source: RowSource, algorithm: Algorithm
) -> dict[str, str] | None:
    """``column_mapping``, unless it does not fit: another data set may have names of its own."""
    if not mapping:
        return None
    try:
        direction(mapping, source.columns, source.origin, family_of(algorithm) == "online")
    except DataError:
        return None
    return mapping


def assemble(train: Part, held_out: Part | None) -> Datasets:
    """Training and held-out rows as one result; says where they overlap."""
    report = train.report
    if held_out is None:
        return Datasets(train=train.dataset, fingerprint=report.fingerprint, report=report)
    both = len(train.digests & held_out.digests)
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


def unreadable(source: RowSource) -> BadRows:
    """The error for a source of which no row could be read, so that there is nothing to recognise."""
    bad = [BadRow(source.place(i), "", row.reason) for i, row in enumerate(source.rows)]
    return bad_rows_error(source.origin, bad, len(bad), True)


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
