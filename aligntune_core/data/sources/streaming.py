"""Rows read as training goes: the same conversion and checks, row by row, with the row's number in the error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from aligntune_core.data.formats.base import Wishes
from aligntune_core.data.prepare import assemble, make_reader, prepare_eval, recognised
from aligntune_core.data.reading.reader import Part, Reader, Tokenize
from aligntune_core.data.reading.rows import Broken, RowSource
from aligntune_core.data.reading.table import features
from aligntune_core.data.sources.files import iterate_file, kind_of, read_file
from aligntune_core.data.sources.folders import LocalFiles
from aligntune_core.data.sources.source import Opened
from aligntune_core.data.sources.splits import parse_split
from aligntune_core.errors import BadRows, DataError
from aligntune_core.types import BadRow, Datasets

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm
    from aligntune_core.config import Config

PLACE = "__place__"
BROKEN = "__broken__"
BATCH = 16
FIRST = 100

_log = logging.getLogger("aligntune.data")


def prepare_stream(
    config: Config, algorithm: Algorithm, tokenizer: Any, opened: Opened, tokenize: Tokenize | None = None
) -> Datasets:
    """Training rows as an ``IterableDataset``; held-out rows are read whole.

    Raises:
        DataError: as ``prepare_datasets``, for the first rows; later ones raise while training.
    """
    if config.optim.max_steps is None:
        raise DataError(
            "rows that are streamed have no count, so num_epochs cannot end the run: set max_steps."
        )
    stream = _sliced(opened, config)
    if config.data.max_samples is not None:
        stream = stream.take(config.data.max_samples)
    first = list(islice(stream, FIRST))
    if not first:
        raise DataError(f"{opened.origin}: the stream holds no rows.")
    names = list(dict.fromkeys(name for row in first for name in row if name not in (PLACE, BROKEN)))
    sample = [row for row in first if not row.get(BROKEN)]
    shape = recognised(names, sample, config, algorithm, opened.origin)
    wishes = Wishes(sample=sample, rows=lambda: sample)
    reader = make_reader(shape, wishes, config, algorithm, tokenizer, tokenize)
    report = reader.report(
        opened.origin,
        names,
        [*opened.sentences, "Rows are streamed: they are checked as training reads them."],
    )
    checked = _checked(stream, reader, opened.origin, list(first[0]))
    if next(iter(checked), None) is None:  # judges the first rows now, before weights are loaded
        raise DataError(f"{opened.origin}: no row of the stream can be used; the log names each.")
    return assemble(Part(checked, report), prepare_eval(config, algorithm, reader, opened))


def _sliced(opened: Opened, config: Config) -> Any:
    parts = parse_split(config.data.split)
    if len(parts) > 1:
        raise DataError(f'split="{config.data.split}": splits cannot be joined while streaming.')
    part = parts[0]
    stream = opened.stream(opened.split_called(part.name))
    if part.is_whole:
        return stream
    if part.in_percent:
        raise DataError(
            f'split="{part}": a stream has no count, so percentages and negative bounds mean nothing in it.'
        )
    start = int(part.start or 0)
    stream = stream.skip(start) if start else stream
    return stream if part.stop is None else stream.take(max(int(part.stop) - start, 0))


def _checked(stream: Any, reader: Reader, origin: str, given: list[str]) -> Any:
    """The stream converted and checked; columns that are neither canonical nor carried along go."""
    canonical, extras = reader.shape.target.columns, reader.shape.extras

    def convert(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        rows: list[Any] = [
            dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)
        ]
        readable = [Broken(row[BROKEN]) if row.get(BROKEN) else row for row in rows]
        out: dict[str, list[Any]] = {name: [] for name in (*canonical, *extras)}
        for index, row, entry in zip(indices, rows, reader.check(readable), strict=True):
            problem = entry.problem
            if problem is not None:
                bad = BadRow(row.get(PLACE) or f"row {index}", problem.column, problem.reason)
                if not reader.drop:
                    raise BadRows(
                        f'{origin}: {bad}. Correct it, or leave such rows out with on_bad_rows="drop".', [bad]
                    )
                _log.warning("%s: dropped: %s", origin, bad)
            for made in entry.rows:
                for name in canonical:
                    out[name].append(made[name])
                for name, column in extras.items():
                    out[name].append(row.get(column))
        return out

    known: dict[str, Any] = {} if extras else {"features": features(canonical, reader.shape.format)}
    return stream.map(
        convert, batched=True, batch_size=BATCH, with_indices=True, remove_columns=given, **known
    )


def stream_files(files: LocalFiles, split: str) -> Any:
    """Local files of one split as an ``IterableDataset``; rows of text files know their line."""
    from datasets import IterableDataset, concatenate_datasets

    kept = files.files[split]
    tables = [
        read_file(path, name).rows.to_iterable_dataset()
        for path, name in kept
        if kind_of(path) in (".parquet", ".arrow")
    ]
    if tables:
        return tables[0] if len(tables) == 1 else concatenate_datasets(tables)

    def generate(paths: list[str], names: list[str]) -> Iterator[dict[str, Any]]:
        from pathlib import Path

        for path, name in zip(paths, names, strict=True):
            for line, row in iterate_file(Path(path), name):
                yield _marked(row, f"{name}:{line}")

    return IterableDataset.from_generator(
        generate, gen_kwargs={"paths": [str(path) for path, _ in kept], "names": [name for _, name in kept]}
    )


def stream_rows(source: RowSource) -> Any:
    """Rows in memory as an ``IterableDataset``."""
    from datasets import IterableDataset

    if source.is_dataset:
        return source.rows.to_iterable_dataset()

    def generate() -> Iterator[dict[str, Any]]:
        for index, row in enumerate(source.rows):
            yield _marked(row, source.place(index))

    return IterableDataset.from_generator(generate)


def _marked(row: Any, place: str) -> dict[str, Any]:
    """A row with its place; a broken one as its reason."""
    if isinstance(row, Broken):
        return {PLACE: place, BROKEN: row.reason}
    return {**row, PLACE: place, BROKEN: ""}
