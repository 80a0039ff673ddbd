"""Values inside the objects of a column, under dotted names: "reward_model.ground_truth", "input.messages"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aligntune_core.data.columns import ROLES, plain_name
from aligntune_core.data.conversations import is_message, is_messages
from aligntune_core.data.rows import Joined, RowSource
from aligntune_core.errors import DataError

# Columns of whole conversations that OpenAI's preference rows keep in one object, with the tools beside them.
_CONVERSATIONS = ("messages", "conversations")

_HOLDERS = frozenset(
    (*ROLES["input"], *ROLES["prompt"], "conversation", "data", "body", "request", "example", "sample")
)
_SAID = (*ROLES["prompt"], *ROLES["completion"], *ROLES["text"], "input_ids")


def parent_of(name: str, columns: Iterable[str]) -> str:
    """The column whose objects a dotted name reaches into; "" where the name is a plain column's."""
    columns = set(columns)
    parts = name.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((head for head in heads if head in columns), "")


def value_at(row: Mapping[str, Any], column: str, path: str) -> Any:
    """What lies under a path in a column's value; None where nothing does. Texts of JSON are read on the way."""
    value = row.get(column)
    for part in path.split("."):
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def paths(
    columns: Sequence[str], sample: Sequence[Mapping[str, Any]], mapping: Mapping[str, str] | None
) -> dict[str, tuple[str, str]]:
    """Dotted name -> (column, path in it): those that ``column_mapping`` names, and conversations inside an object.

    Beside each of them stand the other keys of the same object, so that none is left out unsaid.
    """
    names = [name for pair in (mapping or {}).items() for name in pair if "." in name and name not in columns]
    reached: dict[str, tuple[str, str]] = {}
    for name in names:
        column = parent_of(name, columns)
        if column and any(value_at(row, column, name[len(column) + 1 :]) is not None for row in sample):
            reached[name] = (column, name[len(column) + 1 :])
    for column in _holders(columns):
        keys = _CONVERSATIONS if any(_is_object(row.get(column)) for row in sample) else ()
        for key in keys:
            if any(_holds_messages(value_at(row, column, key)) for row in sample):
                reached[f"{column}.{key}"] = (column, key)
    for column in {column for column, _ in reached.values()}:
        for key in _keys(column, sample):
            name = f"{column}.{key}"
            if not any(other == name or other.startswith(f"{name}.") for other in reached):
                reached[name] = (column, key)
    return reached


def _holders(columns: Sequence[str]) -> list[str]:
    """The columns whose objects may hold the conversation of a row: none where another column says what is learnt."""
    holders = [column for column in columns if plain_name(column) in _HOLDERS]
    others = {plain_name(column) for column in columns if column not in holders}
    return holders if others.isdisjoint((*_CONVERSATIONS, *_SAID)) else []


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, str) and value.lstrip().startswith("{"))


def _holds_messages(value: Any) -> bool:
    return is_messages(value) and is_message(value[0])


def _keys(column: str, sample: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of a column's objects that have a value."""
    keys: dict[str, None] = {}
    for row in sample:
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, Mapping):
            keys.update(
                dict.fromkeys(str(key) for key, inner in value.items() if inner not in (None, "", [], {}))
            )
    return list(keys)


def with_paths(row: Any, reached: Mapping[str, tuple[str, str]]) -> Any:
    """A row with what its dotted names reach; a broken row as it is."""
    if not isinstance(row, Mapping):
        return row
    return {**row, **{name: value_at(row, column, path) for name, (column, path) in reached.items()}}


@dataclass(frozen=True)
class _Rows(Sequence[Any]):
    """Rows with what dotted names reach, read when they are asked for."""

    rows: Sequence[Any]
    reached: Mapping[str, tuple[str, str]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        return with_paths(self.rows[index], self.reached)

    def __iter__(self) -> Iterator[Any]:
        return (with_paths(row, self.reached) for row in self.rows)


def unfolded(
    source: RowSource, sample: Sequence[Mapping[str, Any]], mapping: Mapping[str, str] | None
) -> RowSource:
    """A source whose rows also have the columns that ``paths`` says; itself where that is none.

    Raises:
        DataError: the values of a dotted name are of different types, in a ``datasets.Dataset``.
    """
    reached = paths(source.columns, sample, mapping)
    return _unfolded(source, reached) if reached else source


def _unfolded(source: RowSource, reached: Mapping[str, tuple[str, str]]) -> RowSource:
    columns = (*source.columns, *reached)
    if isinstance(source, Joined):
        return replace(source, rows=[_unfolded(part, reached) for part in source.rows], columns=columns)
    if not source.is_dataset:
        return replace(source, rows=_Rows(source.rows, reached), columns=columns)
    import pyarrow as pa
    from datasets import concatenate_datasets

    tops = list(dict.fromkeys(column for column, _ in reached.values()))
    objects = source.rows.with_format(None).select_columns(tops)
    try:
        beside = objects.map(partial(_reached, reached), remove_columns=tops)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"{source.origin}: values inside {', '.join(tops)} are of different types: {error}"
        ) from error
    return replace(source, rows=concatenate_datasets([source.rows, beside], axis=1), columns=columns)


def _reached(reached: Mapping[str, tuple[str, str]], row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value_at(row, column, path) for name, (column, path) in reached.items()}
