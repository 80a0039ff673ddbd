"""Rows with their places, whatever they came from: a list, the lines of a file, or a ``datasets.Dataset``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aligntune_core.wording import a_type

BATCH = 1000


@dataclass(frozen=True)
class Broken:
    """A line or element that could not be read as a row at all."""

    reason: str


@dataclass(frozen=True)
class Places(Sequence[str]):
    """Where rows are ("train.jsonl:18"), written when one is asked for: millions of texts would fill the memory."""

    name: str
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Places(self.name, self.lines[index])
        return f"{self.name}:{self.lines[index]}"


@dataclass(frozen=True)
class Chain(Sequence[Any]):
    """Several sequences as one, without copying them."""

    parts: tuple[Sequence[Any], ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return Chain(tuple(self._within(start, stop)))
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)

    def __iter__(self) -> Iterator[Any]:
        for part in self.parts:
            yield from part

    def _within(self, start: int, stop: int) -> Iterator[Sequence[Any]]:
        for part in self.parts:
            if start < len(part) and stop > 0:
                yield part[max(start, 0) : stop]
            start, stop = start - len(part), stop - len(part)


@dataclass(frozen=True)
class RowSource:
    """Rows of one split that can be read more than once.

    Attributes:
        origin: what to call the source in messages.
        rows: mappings, ``Broken`` ones among them, in a list or in a sequence that reads them when they are asked for;
            or a ``datasets.Dataset``.
        columns: names of all columns, in order.
        places: a place for each row ("train.jsonl:18"); None: rows are called by ``numbers``.
        numbers: index of each row in its split, counted from 0.
    """

    origin: str
    rows: Any
    columns: tuple[str, ...]
    numbers: Sequence[int]
    places: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def is_dataset(self) -> bool:
        """Whether ``rows`` is a ``datasets.Dataset``."""
        return not isinstance(self.rows, Sequence)

    def place(self, index: int) -> str:
        """Where row ``index`` is."""
        return self.places[index] if self.places is not None else f"row {self.numbers[index]}"

    def take(self, indices: range) -> RowSource:
        """The rows of a contiguous range."""
        part = slice(indices.start, indices.stop)
        return replace(
            self,
            rows=self.rows.select(indices) if self.is_dataset else self.rows[part],
            numbers=self.numbers[part],
            places=None if self.places is None else self.places[part],
        )

    def batches(self, columns: Sequence[str], size: int = BATCH) -> Iterator[tuple[int, list[Any]]]:
        """Yield (index of the first row, rows), rows as mappings that hold at least ``columns``."""
        if not self.is_dataset:
            for start in range(0, len(self), size):
                yield start, list(self.rows[start : start + size])
            return
        part = self.rows.select_columns([c for c in columns if c in self.columns]).with_format(None)
        for start, batch in zip(range(0, len(self), size), part.iter(batch_size=size), strict=True):
            names = list(batch)
            yield (
                start,
                [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)],
            )


def checked(row: Any) -> Any:
    """A row as it is; anything that is no mapping as ``Broken``."""
    return row if isinstance(row, Mapping | Broken) else Broken(f"{a_type(row)}, not a dict of columns")


def from_list(rows: list[Any], origin: str, places: Sequence[str] | None = None) -> RowSource:
    """A source from rows in memory."""
    columns: dict[str, None] = {}
    for row in rows:
        if isinstance(row, Mapping):
            columns.update(dict.fromkeys(row))
    names = tuple(str(name) for name in columns)
    return RowSource(origin, [checked(row) for row in rows], names, range(len(rows)), places)


def from_dataset(dataset: Any, origin: str) -> RowSource:
    """A source from a ``datasets.Dataset``."""
    return RowSource(origin, dataset, tuple(dataset.column_names), range(len(dataset)))


def concatenate(parts: Sequence[RowSource]) -> RowSource:
    """Several sources as one ("train[:10]+test[:5]")."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    numbers = Chain(tuple(part.numbers for part in parts))
    places = Chain(tuple(part.places or [part.place(i) for i in range(len(part))] for part in parts))
    if first.is_dataset:
        from datasets import concatenate_datasets

        rows: Any = concatenate_datasets([part.rows for part in parts])
    else:
        rows = Chain(tuple(part.rows for part in parts))
    columns = tuple(dict.fromkeys(name for part in parts for name in part.columns))
    return RowSource(first.origin, rows, columns, numbers, places)
