"""Canonical rows as a ``datasets.Dataset``, with the columns that are carried along and their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from aligntune_core.data.formats.base import MESSAGES, Format, Shape
from aligntune_core.data.reading.rows import BATCH, RowSource
from aligntune_core.data.reading.spool import Spool
from aligntune_core.errors import DataError


def schema(columns: Sequence[str], entry: Format) -> Any:
    """The Arrow schema of canonical columns: lists of messages, and what else the format declares."""
    import pyarrow as pa

    return pa.schema([(column, _arrow_type(entry.type_of(column))) for column in columns])


def features(columns: Sequence[str], entry: Format) -> Any:
    """The same as features of the ``datasets`` library."""
    from datasets import Features

    return Features.from_arrow_schema(schema(columns, entry))


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    if name == MESSAGES:
        return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.list_(_arrow_type(name[:-2])) if name.endswith("[]") else pa.type_for_alias(name)


def to_table(
    rows: Sequence[Mapping[str, Any]], shape: Shape, tokens: Sequence[Mapping[str, Any] | None]
) -> Any:
    """Canonical rows as an Arrow table, beside the columns of their tokens where there are any."""
    import pyarrow as pa

    table = pa.Table.from_pylist(list(rows), schema=schema(shape.target.columns, shape.format))
    for name in _token_columns(tokens):
        table = table.append_column(
            name, pa.array([_token(row, name) for row in tokens], pa.list_(pa.int32()))
        )
    return table


def _token_columns(tokens: Sequence[Mapping[str, Any] | None]) -> list[str]:
    return list(next((row for row in tokens if row), {}))


def _token(row: Mapping[str, Any] | None, name: str) -> Any:
    return None if row is None else row[name]


def build_dataset(
    canonical: Spool, shape: Shape, source: RowSource, kept: Sequence[int], fingerprint: str
) -> Any:
    """One dataset from canonical rows, in order.

    Args:
        canonical: tables from ``to_table``.
        shape: names the columns to carry along.
        source: where those are.
        kept: the index in ``source`` of each row.
        fingerprint: of the rows; the ``datasets`` library would hash them once more.
    """
    from datasets import Dataset, concatenate_datasets

    dataset = Dataset(canonical.table(), fingerprint=fingerprint)
    if not shape.extras:
        return dataset
    return concatenate_datasets([dataset, _extras(shape, source, kept)], axis=1)


def _extras(shape: Shape, source: RowSource, kept: Sequence[int]) -> Any:
    from datasets import Dataset, concatenate_datasets
    from datasets.table import InMemoryTable

    if source.is_dataset:
        chosen = source.rows.with_format(None).select(kept)
        return concatenate_datasets(
            [_as(chosen, column, name) for name, column in shape.extras.items()], axis=1
        )
    if isinstance(source.rows, list):
        return Dataset(InMemoryTable(_typed([source.rows[index] for index in kept], shape)))
    return Dataset(_spooled(shape, source, kept))


def _spooled(shape: Shape, source: RowSource, kept: Sequence[int]) -> Any:
    """The columns of rows that do not lie in memory; batches of one type each, joined as one list would have been."""
    import pyarrow as pa
    from datasets.table import InMemoryTable, concat_tables

    spools: list[tuple[Any, Spool]] = []
    for rows in _kept_rows(source, kept):
        table = _typed(rows, shape)
        if not spools or spools[-1][0] != table.schema:
            spools.append((table.schema, Spool()))
        spools[-1][1].add(table)
    tables = [spool.table() for _, spool in spools]
    if len(tables) == 1:
        return tables[0]
    for name in shape.extras:
        try:
            pa.unify_schemas(
                [pa.schema([table.schema.field(name)]) for table in tables], promote_options="permissive"
            )
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise _mixed(shape, name, error) from error
    whole = pa.unify_schemas([table.schema for table in tables], promote_options="permissive")
    return concat_tables([InMemoryTable(_promoted(table, whole, shape)) for table in tables])


def _promoted(table: Any, whole: Any, shape: Shape) -> Any:
    import pyarrow as pa

    try:
        return pa.concat_tables([whole.empty_table(), table.table], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise _mixed(shape, ", ".join(shape.extras), error) from error


def _kept_rows(source: RowSource, kept: Sequence[int]) -> Iterator[list[Any]]:
    """The rows of each batch of ``kept``, whose indices rise."""
    bounds = [*range(0, len(kept), BATCH), len(kept)]
    for start, stop in pairwise(bounds):
        indices = kept[start:stop]
        first = indices[0]
        rows = list(source.rows[first : indices[-1] + 1])
        yield [rows[index - first] for index in indices]


def _typed(rows: Sequence[Mapping[str, Any]], shape: Shape) -> Any:
    """The carried columns of some rows as an Arrow table."""
    import pyarrow as pa

    arrays = []
    for name, column in shape.extras.items():
        try:
            arrays.append(pa.array([row.get(column) for row in rows]))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise _mixed(shape, name, error) from error
    return pa.table(arrays, names=list(shape.extras))


def _mixed(shape: Shape, name: str, error: Exception) -> DataError:
    return DataError(f'{shape.origin}: column "{name}" holds values of different types: {error}')


def _as(dataset: Any, column: str, name: str) -> Any:
    """One column of a dataset, under another name."""
    alone = dataset.select_columns([column])
    return alone if column == name else alone.rename_column(column, name)
