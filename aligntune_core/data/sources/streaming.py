"""Files and rows as a stream whose rows carry their place, so that an error can name it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aligntune_core.data.reading.rows import Broken, RowSource
from aligntune_core.data.sources.files import iterate_file, kind_of, read_file
from aligntune_core.data.sources.folders import LocalFiles

PLACE = "__place__"
BROKEN = "__broken__"


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
