"""The pipeline: open, recognise, convert, check, report; rows to train on and those held out alike."""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Any

from aligntune_core.config import written
from aligntune_core.data import lengths, mixture, unused
from aligntune_core.data.conversations import message_keys
from aligntune_core.data.ends import Ending, agree
from aligntune_core.data.formats.base import Row, Shape, Wishes
from aligntune_core.data.nested import paths, unfolded, with_paths
from aligntune_core.data.reader import Part, Reader, Tally, Tokenize, bad_rows_error
from aligntune_core.data.recognise import detect, mapping_of
from aligntune_core.data.rendered import as_rendered
from aligntune_core.data.rows import BROKEN, PLACE, Broken, RowSource, by_row, pick
from aligntune_core.data.sources.source import Opened, open_source
from aligntune_core.data.tables import features
from aligntune_core.data.templates import ensure_template
from aligntune_core.data.toolcalls import wants_texts
from aligntune_core.data.turns import tells_turns
from aligntune_core.errors import BadRows, DataError
from aligntune_core.types import BadRow, Datasets

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm
    from aligntune_core.config import Config

SAMPLE = 100
STREAMED = 16
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
        Datasets: canonical rows (docs/data-formats.md), their fingerprint and a ``DataReport``. Training rows that are
        streamed are an ``IterableDataset``, and only the first of them have been checked.

    Raises:
        DataError: the source cannot be read, columns are missing, or rows cannot be used (``BadRows``); names each
            row by its index or file line, the column and the reason.
    """
    held_out: Part | None = None
    if config.data.datasets is not None:
        reader, train, held_out, opened = _mixed(config, algorithm, tokenizer, tokenize)
    else:
        opened, rest = open_source(config.data.dataset, config), None
        if config.data.streaming or opened.endless:
            reader, train = _streamed(opened, config, algorithm, tokenizer, tokenize)
        else:
            source, rest = _sources(opened, config)
            reader = _reader_for(source, config, algorithm, tokenizer, tokenize)
            train = reader.read(source)
            train = replace(train, report=replace(train.report, saw=(*train.report.saw, *opened.sentences)))
        if rest is not None:
            held_out = reader.read(rest)
    if held_out is None:
        held_out = _held_out(config, algorithm, reader, opened)
    report = train.report
    if held_out is None:
        return Datasets(train=train.dataset, fingerprint=report.fingerprint, report=report)
    hashes = set(held_out.hashes())
    both = len({digest for digest in train.hashes() if digest in hashes})
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


def _sources(opened: Opened, config: Config) -> tuple[RowSource, RowSource | None]:
    """The rows of a data set to train on, and those that ``eval_share`` holds out."""
    source = _first_rows(opened.rows(config.data.split), config.data.max_samples)
    source, rest = _shared_out(_unfolded(source, config.data.column_mapping), config)
    return source, rest and _first_rows(rest, config.data.max_eval_samples)


def _mixed(
    config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None
) -> tuple[Reader, Part, Part | None, Opened]:
    """Training rows of several data sets, and what ``eval_share`` holds out of each of them.

    Raises:
        DataError: as ``prepare_datasets``, naming the data set; formats that do not go together.
    """
    parts, sources = [], []
    for member in mixture.members(config):
        opened = mixture.named(member, partial(open_source, member.config.data.dataset, member.config))
        if opened.endless:
            raise DataError(f"{member.name}: rows of a mixture are read whole; give a Dataset.")
        both = mixture.named(member, partial(_sources, opened, member.config))
        arguments = (both[0], member.config, algorithm, tokenizer, tokenize)
        parts.append((member, mixture.named(member, partial(_reader_for, *arguments))))
        sources.append(both)
    readers = mixture.alike(parts)
    train, held_out = [], []
    for (member, _), reader, (source, rest) in zip(parts, readers, sources, strict=True):
        train.append((member, mixture.named(member, partial(reader.read, source))))
        if rest is not None:
            held_out.append((replace(member, weight=None), mixture.named(member, partial(reader.read, rest))))
    seed = _data_seed(config)
    rest = mixture.joined(held_out, seed) if held_out else None
    return readers[0], mixture.joined(train, seed), rest, opened


def _data_seed(config: Config) -> int:
    return config.run.seed if config.run.data_seed is None else config.run.data_seed


def _shared_out(source: RowSource, config: Config) -> tuple[RowSource, RowSource | None]:
    """The rows to train on, and those that ``eval_share`` holds out: drawn by the seed, each part in its own order.

    Raises:
        DataError: one of the two would be empty.
    """
    from datasets import Dataset

    share, count = config.data.eval_share, len(source)
    if share is None:
        return source, None
    if not 1 <= ceil(share * count) < count:
        raise DataError(f"{source.origin}: eval_share={share:g} of {count} rows leaves none to train on.")
    drawn = Dataset.from_dict({"row": range(count)}).train_test_split(
        test_size=share, seed=_data_seed(config)
    )
    train, rest = (pick(source, array("q", sorted(drawn[part]["row"]))) for part in ("train", "test"))
    return train, replace(rest, origin=f"{source.origin} (held out)")


def prepare_rows(
    rows: Any, config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None = None
) -> Any:
    """Canonical rows (``datasets.Dataset``) that come later, as for ``Trainer.evaluate``, read as the run's were.

    Raises:
        DataError: as ``prepare_datasets``.
    """
    opened = open_source(rows, config, "dataset")
    if opened.endless:
        raise DataError("evaluation reads rows whole; give a Dataset, not an IterableDataset.")
    source = _unfolded(opened.rows(opened.held_out_split()), config.data.column_mapping)
    mapping = _mapping_that_applies(config.data.column_mapping, source, algorithm)
    data = config.data.model_copy(update={"column_mapping": mapping})
    config = config.model_copy(update={"data": data})
    return _reader_for(source, config, algorithm, tokenizer, tokenize).read(source).dataset


def _reader_for(
    source: RowSource, config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None
) -> Reader:
    """The reader of a source that can be read more than once."""
    if not source.columns:  # no row of it could be read, so there is nothing to recognise
        bad = [
            BadRow(source.place(start + offset), "", getattr(row, "reason", "no columns"))
            for start, rows in source.batches(())
            for offset, row in enumerate(rows)
        ]
        raise bad_rows_error(source.origin, bad, len(bad), True)

    wishes = Wishes(sample=list(islice(_readable(source), SAMPLE)), rows=partial(_readable, source))
    return _reader(source.columns, wishes, source.origin, config, algorithm, tokenizer, tokenize)


def _readable(source: RowSource) -> Iterable[Row]:
    """The rows that could be read, with all columns, so that recognising may look at any."""
    batches = source.batches(source.columns, SAMPLE)
    return (row for _, batch in batches for row in batch if isinstance(row, Mapping))


def _reader(
    columns: Sequence[str],
    wishes: Wishes,
    origin: str,
    config: Config,
    algorithm: Algorithm,
    tokenizer: Any,
    tokenize: Tokenize | None,
) -> Reader:
    """Recognise a data set; decide template, loss and canonical columns. The rest of ``wishes`` is filled in here."""
    data = config.data
    shape = _shape(columns, wishes, origin, config, algorithm, tokenizer, data.column_mapping)
    template, ending = "", Ending()
    if shape.format.conversational:
        template = ensure_template(tokenizer, shape.dialogue, config.model.chat_template)
        ending = Ending() if tokenizer is None else agree(tokenizer, config.model.eos_token)
    wishes = replace(
        wishes,
        completion_only=data.completion_only_loss,
        written="data.completion_only_loss" in written(config),
        tells_turns=tells_turns(tokenizer),
        train_on=data.train_on,
    )
    plain = partial(lengths.tokenize, config=config, algorithm=algorithm, tokenizer=tokenizer)
    return Reader(
        shape=replace(shape, target=shape.format.target(shape, wishes)),
        tokenize=tokenize or plain,
        tokenizer=tokenizer,
        max_seq_length=data.max_seq_length,
        drop=data.on_bad_rows == "drop",
        rendered=data.rendered,
        policy=data.unused_columns,
        template=template,
        ending=ending,
        text_arguments=wants_texts(tokenizer),
    )


def _shape(
    columns: Sequence[str],
    wishes: Wishes,
    origin: str,
    config: Config,
    algorithm: Algorithm,
    tokenizer: Any,
    mapping: dict[str, str] | None,
) -> Shape:
    """A data set recognised, with nothing left out that would change what is learnt."""
    data = config.data
    policy = data.unused_columns
    shape = detect(columns, wishes.sample, algorithm, origin, mapping, data.text_column, policy)
    shape = replace(unused.without_named(shape, policy), system_prompt=data.system_prompt)
    unused.refuse_telling(shape, wishes.rows(), policy)
    if not data.rendered:
        return shape
    if data.system_prompt:
        raise DataError(f"{origin}: rows that are rendered already take no system_prompt")
    return replace(shape, format=as_rendered(shape.format, tokenizer), dialogue=False)


def _held_out(config: Config, algorithm: Algorithm, reader: Reader, opened: Opened) -> Part | None:
    """The held-out rows, with the canonical columns of the training rows; None where none were asked for."""
    data = config.data
    if data.eval_dataset is None and data.eval_split is None:
        if data.eval_share is not None:  # of an endless stream: others have been shared out
            raise DataError(f"{opened.origin}: eval_share needs a count of rows; give eval_dataset.")
        return None
    mapping = data.column_mapping
    if data.eval_dataset is not None:
        opened = open_source(data.eval_dataset, config, "eval_dataset")
    if opened.endless:
        raise DataError(
            "held-out rows are read whole; give a Dataset as eval_dataset, not an IterableDataset."
        )
    source = opened.rows(data.eval_split or opened.held_out_split(), "eval_split")
    source = replace(_first_rows(source, data.max_eval_samples), origin=f"{source.origin} (held out)")
    source = _unfolded(source, mapping)
    if data.eval_dataset is not None:
        mapping = _mapping_that_applies(mapping, source, algorithm)
    wishes = Wishes(sample=list(islice(_readable(source), SAMPLE)), rows=partial(_readable, source))
    shape = _shape(source.columns, wishes, source.origin, config, algorithm, reader.tokenizer, mapping)
    if set(shape.format.columns) != set(reader.shape.format.columns):
        raise DataError(
            f"{source.origin}: format {shape.name}, but the training rows are {reader.shape.name}."
        )
    shape = replace(shape, target=reader.shape.target)
    return replace(reader, shape=shape).read(source)


def _mapping_that_applies(
    mapping: dict[str, str] | None, source: RowSource, algorithm: Algorithm
) -> dict[str, str] | None:
    """``column_mapping``, unless it does not fit: another data set may have names of its own."""
    try:
        mapping_of(mapping, source.columns, algorithm, source.origin)
    except DataError:
        return None
    return mapping


def _first_rows(source: RowSource, count: int | None) -> RowSource:
    return source if count is None or count >= len(source) else source.take(range(count))


def _unfolded(source: RowSource, mapping: dict[str, str] | None) -> RowSource:
    """The rows with what dotted names reach inside their objects."""
    return unfolded(source, list(islice(_readable(source), SAMPLE)), mapping)


def _streamed(
    opened: Opened, config: Config, algorithm: Algorithm, tokenizer: Any, tokenize: Tokenize | None
) -> tuple[Reader, Part]:
    """Training rows that are converted and checked as training reads them; the first are judged now.

    Raises:
        DataError: as ``prepare_datasets``, for the first rows; later ones raise while training.
    """
    if config.optim.max_steps is None:
        raise DataError(
            "rows that are streamed have no count, so num_epochs cannot end the run: set max_steps."
        )
    stream = opened.streamed(config.data.split)
    if config.data.max_samples is not None:
        stream = stream.take(config.data.max_samples)
    first = list(islice(stream, SAMPLE))
    if not first:
        raise DataError(f"{opened.origin}: the stream holds no rows.")
    reached = paths(list(first[0]), first, config.data.column_mapping)
    if reached:
        stream = stream.map(partial(with_paths, reached=reached))
        first = list(islice(stream, SAMPLE))
    names = list(dict.fromkeys(name for row in first for name in row if name not in (PLACE, BROKEN)))
    sample = [row for row in first if not row.get(BROKEN)]
    wishes = Wishes(sample=sample, rows=lambda: sample, streamed=True)
    reader = _reader(names, wishes, opened.origin, config, algorithm, tokenizer, tokenize)
    # Types are known beforehand where nothing but canonical columns comes out.
    tokens = [row.columns for entry in reader.check(sample[:1]) for row in entry.tokens]
    known = not reader.shape.extras and not any(tokens)
    checked = stream.map(
        partial(_checked, reader, opened.origin, config.data.unused_columns),
        batched=True,
        batch_size=STREAMED,
        with_indices=True,
        remove_columns=list(first[0]),
        features=features(reader.shape.columns_made, reader.shape.format) if known else None,
    )
    if next(iter(checked), None) is None:  # judges the first rows now, before weights are loaded
        raise DataError(f"{opened.origin}: no row of the stream can be used; the log names each.")
    sentences = [*opened.sentences, "Rows are streamed: they are checked as training reads them."]
    tally = Tally(keys={key: None for row in sample for key in message_keys(row, reader.shape)})
    report = reader.report(opened.origin, names, sentences, tally)
    return reader, Part(checked, replace(report, rows_dropped=None, rows_made=None))


def _checked(
    reader: Reader, origin: str, policy: unused.Policy, batch: dict[str, list[Any]], indices: list[int]
) -> dict[str, list[Any]]:
    """Rows of a stream converted and checked; columns that are neither canonical nor carried along go."""
    canonical, extras = reader.shape.columns_made, reader.shape.extras
    rows = list(by_row(batch))
    unused.refuse_telling(reader.shape, rows, policy)
    out: dict[str, list[Any]] = {name: [] for name in (*canonical, *extras)}
    entries = reader.check([Broken(row[BROKEN]) if row.get(BROKEN) else row for row in rows])
    for index, row, entry in zip(indices, rows, entries, strict=True):
        if entry.problem is not None:
            bad = BadRow(row.get(PLACE) or f"row {index}", entry.problem.column, entry.problem.reason)
            if not reader.drop:
                raise BadRows(
                    f'{origin}: {bad}. Correct it, or leave such rows out with on_bad_rows="drop".', [bad]
                )
            _log.warning("%s: dropped: %s", origin, bad)
        for made, tokens in zip(entry.rows, entry.tokens, strict=True):
            for name in canonical:
                out[name].append(made[name])
            for name, column in extras.items():
                out[name].append(row.get(column))
            for name, ids in (tokens.columns or {}).items():
                out.setdefault(name, []).append(ids)
    return out
