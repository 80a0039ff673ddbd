"""Rows with their places, whatever they came from: a list, a file's lines, or a ``datasets.Dataset``."""

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


class RowProblem(Exception):
    """A row that cannot be used; caught where its place is known."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(f"{column}: {reason}")
        self.column = column
        self.reason = reason


@dataclass(frozen=True)
class RowSource:
    """Rows of one split that can be read more than once.

    Attributes:
        origin: what to call the source in messages.
        rows: mappings, ``Broken`` ones among them; or a ``datasets.Dataset``.
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
        return not isinstance(self.rows, list)

    def place(self, index: int) -> str:
        """Where row ``index`` is."""
        return self.places[index] if self.places is not None else f"row {self.numbers[index]}"

    def take(self, indices: range) -> RowSource:
        """The rows of a contiguous range."""
        rows = self.rows.select(indices) if self.is_dataset else self.rows[indices.start : indices.stop]
        return replace(
            self,
            rows=rows,
            numbers=self.numbers[indices.start : indices.stop],
            places=None if self.places is None else self.places[indices.start : indices.stop],
        )

    def batches(self, columns: Sequence[str], size: int = BATCH) -> Iterator[tuple[int, list[Any]]]:
        """Yield (index of the first row, rows), rows as mappings that hold at least ``columns``."""
        if not self.is_dataset:
            for start in range(0, len(self), size):
                yield start, self.rows[start : start + size]
            return
        wanted = self.rows.select_columns([c for c in columns if c in self.columns]).with_format(None)
        for start, batch in zip(range(0, len(self), size), wanted.iter(batch_size=size), strict=True):
            names = list(batch)
            yield (
                start,
                [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)],
            )


def from_list(rows: list[Any], origin: str, places: Sequence[str] | None = None) -> RowSource:
    """A source from rows in memory; anything that is no mapping becomes ``Broken``."""
    checked: list[Any] = []
    columns: dict[str, None] = {}
    for row in rows:
        if isinstance(row, Mapping):
            columns.update(dict.fromkeys(row))
            checked.append(row)
        elif isinstance(row, Broken):
            checked.append(row)
        else:
            checked.append(Broken(f"{a_type(row)}, not a dict of columns"))
    names = tuple(str(name) for name in columns)
    return RowSource(origin, checked, names, range(len(checked)), places)


def from_dataset(dataset: Any, origin: str) -> RowSource:
    """A source from a ``datasets.Dataset``."""
    return RowSource(origin, dataset, tuple(dataset.column_names), range(len(dataset)))


def concatenate(parts: Sequence[RowSource]) -> RowSource:
    """Several sources as one ("train[:10]+test[:5]")."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    numbers = [number for part in parts for number in part.numbers]
    places = [part.place(i) for part in parts for i in range(len(part))]
    if first.is_dataset:
        from datasets import concatenate_datasets

        rows: Any = concatenate_datasets([part.rows for part in parts])
    else:
        rows = [row for part in parts for row in part.rows]
    columns = tuple(dict.fromkeys(name for part in parts for name in part.columns))
    return RowSource(first.origin, rows, columns, numbers, places)
