"""Rows with their places, whatever they came from: a list, the lines of a file, or a ``datasets.Dataset``."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aligntune_core.data.conversations import as_row
from aligntune_core.wording import a_type

BATCH = 1000
PLACE = "__place__"
BROKEN = "__broken__"


@dataclass(frozen=True)
class Broken:
    """A line or element that could not be read as a row at all."""

    reason: str


@dataclass(frozen=True)
class RowSource:
    """Rows of one split that can be read more than once."""

    origin: str  # what to call the source in messages
    # mappings, ``Broken`` ones among them, in a list or in a sequence that reads them when they are asked for; or
    # a ``datasets.Dataset``
    rows: Any
    columns: tuple[str, ...]  # names of all columns, in order
    numbers: Sequence[int]  # of each row: its index in its split, counted from 0, or its line
    label: str = "row "  # what a number follows in the place of a row: "row ", or "train.jsonl:"

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def is_dataset(self) -> bool:
        """Whether ``rows`` is a ``datasets.Dataset``."""
        return not isinstance(self.rows, Sequence)

    def place(self, index: int) -> str:
        """Where row ``index`` is: "row 3", or "train.jsonl:18"."""
        return f"{self.label}{self.numbers[index]}"

    def take(self, indices: range) -> RowSource:
        """The rows of a contiguous range."""
        part = slice(indices.start, indices.stop)
        rows = self.rows.select(indices) if self.is_dataset else self.rows[part]
        return replace(self, rows=rows, numbers=self.numbers[part])

    def batches(self, columns: Sequence[str], size: int = BATCH) -> Iterator[tuple[int, list[Any]]]:
        """Yield (index of the first row, rows), rows as mappings without columns other than ``columns``."""
        names = [name for name in dict.fromkeys(columns) if name in self.columns]
        if self.is_dataset:
            part = self.rows.select_columns(names).with_format(None)
            for start, batch in zip(range(0, len(self), size), part.iter(batch_size=size), strict=True):
                yield start, list(by_row(batch))
            return
        for start in range(0, len(self), size):
            yield start, [_only(names, row) for row in self.rows[start : start + size]]

    def stream(self) -> Any:
        """The rows as an ``IterableDataset``, marked with their places; those of a dataset as they are."""
        from datasets import IterableDataset

        if self.is_dataset:
            return self.rows.to_iterable_dataset()

        def generate() -> Iterator[dict[str, Any]]:
            for index, row in enumerate(self.rows):
                yield marked(row, self.place(index))

        return IterableDataset.from_generator(generate)


@dataclass(frozen=True)
class Joined(RowSource):
    """Several sources that are no datasets, as one; ``rows`` are the sources."""

    def place(self, index: int) -> str:
        for part in self.rows:
            if index < len(part):
                break
            index -= len(part)
        return str(part.place(index))

    def take(self, indices: range) -> RowSource:
        start, stop, parts = indices.start, indices.stop, []
        for part in self.rows:
            parts.append(part.take(range(min(max(start, 0), len(part)), min(max(stop, 0), len(part)))))
            start, stop = start - len(part), stop - len(part)
        return replace(self, rows=parts, numbers=self.numbers[indices.start : indices.stop])

    def batches(self, columns: Sequence[str], size: int = BATCH) -> Iterator[tuple[int, list[Any]]]:
        first = 0
        for part in self.rows:
            for start, rows in part.batches(columns, size):
                yield first + start, rows
            first += len(part)


@dataclass(frozen=True)
class Picked(RowSource):
    """Some rows of a source that is no dataset, in its order; ``rows`` is that source, ``numbers`` their indices."""

    def place(self, index: int) -> str:
        return str(self.rows.place(self.numbers[index]))

    @property
    def is_dataset(self) -> bool:
        return False

    def take(self, indices: range) -> RowSource:
        return replace(self, numbers=self.numbers[indices.start : indices.stop])

    def batches(self, columns: Sequence[str], size: int = BATCH) -> Iterator[tuple[int, list[Any]]]:
        picked = bytearray(len(self.rows))
        for index in self.numbers:
            picked[index] = 1
        first = 0
        for start, rows in self.rows.batches(columns, size):
            some = [row for row, pick in zip(rows, picked[start : start + len(rows)], strict=True) if pick]
            if some:
                yield first, some
            first += len(some)


def pick(source: RowSource, indices: Sequence[int]) -> RowSource:
    """The rows of ``indices``, which go up."""
    if source.is_dataset:
        numbers = [source.numbers[index] for index in indices]
        return replace(source, rows=source.rows.select(indices), numbers=numbers)
    return Picked(source.origin, source, source.columns, indices)


def by_row(batch: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """The rows of a batch given as columns."""
    return (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))


def marked(row: Any, place: str) -> dict[str, Any]:
    """A row of a stream with its place, so that an error can name it; a broken one as its reason."""
    return (
        {PLACE: place, BROKEN: row.reason} if isinstance(row, Broken) else {**row, PLACE: place, BROKEN: ""}
    )


def _only(names: Sequence[str], row: Any) -> Any:
    """A row with some of its columns. What no run reads is let go before the batch is whole: it may be most of it."""
    return row if isinstance(row, Broken) else {name: row[name] for name in names if name in row}


_PLAIN = frozenset((str, int, float, bool, type(None), list, dict, tuple, bytes))


def _plain_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row without values of NumPy; itself where it has none."""
    if _PLAIN.issuperset(map(type, row.values())):
        return row
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """An array as a list, a number or text of NumPy as Python's own, also inside of it; anything else as it is."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if type(value) is dict else value


def from_list(
    rows: Sequence[Any], origin: str, numbers: Sequence[int] | None = None, label: str = "row "
) -> RowSource:
    """A source from rows in memory; what is no mapping is ``Broken``."""
    rows = [as_row(row) for row in rows]
    columns = dict.fromkeys(str(name) for row in rows if isinstance(row, Mapping) for name in row)
    rows = [
        _plain_row(row)
        if isinstance(row, Mapping)
        else row
        if isinstance(row, Broken)
        else Broken(f"{a_type(row)}, not a dict of columns")
        for row in rows
    ]
    return RowSource(origin, rows, tuple(columns), range(len(rows)) if numbers is None else numbers, label)


def from_dataset(dataset: Any, origin: str) -> RowSource:
    """A source from a ``datasets.Dataset``."""
    return RowSource(origin, dataset, tuple(dataset.column_names), range(len(dataset)))


def concatenate(parts: Sequence[RowSource]) -> RowSource:
    """Several sources as one ("train[:10]+test[:5]")."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns = tuple(dict.fromkeys(name for part in parts for name in part.columns))
    if not first.is_dataset:
        return Joined(first.origin, parts, columns, range(sum(map(len, parts))))
    from datasets import concatenate_datasets

    numbers = array("q", (number for part in parts for number in part.numbers))
    return RowSource(first.origin, concatenate_datasets([part.rows for part in parts]), columns, numbers)
