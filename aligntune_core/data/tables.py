"""Rows as tables of Arrow: small ones stay in memory, large ones go to a file that is mapped."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from aligntune_core.data.formats.base import MESSAGES, Format, Shape
from aligntune_core.errors import DataError

IN_MEMORY = 16 * 2**20
"""Bytes up to which tables are kept in memory."""


class Spool:
    """Tables of one schema, in order; what is beyond ``IN_MEMORY`` lies in a file of this process's own."""

    def __init__(self) -> None:
        self._tables: list[Any] = []
        self._bytes = 0
        self._path = ""
        self._writer: Any = None

    def add(self, table: Any) -> None:
        """Take one more ``pyarrow.Table``."""
        import pyarrow as pa

        self._tables.append(table)
        self._bytes += table.nbytes
        if self._bytes <= IN_MEMORY:
            return
        if self._writer is None:
            self._path = scratch_file(".arrow")
            self._writer = pa.ipc.new_stream(self._path, table.schema)
        for table in self._tables:
            self._writer.write_table(table)
        self._tables = []

    def table(self) -> Any:
        """All of it as a table of the ``datasets`` library, in memory or mapped. Nothing can be added any more."""
        import pyarrow as pa
        from datasets.table import InMemoryTable, MemoryMappedTable

        if self._writer is None:
            return InMemoryTable(pa.concat_tables(self._tables))
        self._writer.close()
        return MemoryMappedTable.from_file(self._path)


class Extras:
    """The columns that are carried along, of rows that are no dataset's: of whatever types their values have."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._spools: list[tuple[Any, Spool]] = []  # batches of one type each

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the columns of some more rows."""
        import pyarrow as pa

        arrays = []
        for name, column in self._shape.extras.items():
            try:
                arrays.append(pa.array([row.get(column) for row in rows]))
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
                raise self._mixed(name, error) from error
        table = pa.table(arrays, names=list(self._shape.extras))
        if not self._spools or self._spools[-1][0] != table.schema:
            self._spools.append((table.schema, Spool()))
        self._spools[-1][1].add(table)

    def table(self) -> Any:
        """All of it, with the types that all rows in one list would have had."""
        import pyarrow as pa
        from datasets.table import InMemoryTable, concat_tables

        tables = [spool.table() for _, spool in self._spools]
        if len(tables) == 1:
            return tables[0]
        fields = []
        for name in self._shape.extras:
            schemas = [pa.schema([schema.field(name)]) for schema, _ in self._spools]
            try:
                fields.append(pa.unify_schemas(schemas, promote_options="permissive").field(name))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise self._mixed(name, error) from error
        none = pa.schema(fields).empty_table()
        try:
            promoted = [pa.concat_tables([none, t.table], promote_options="permissive") for t in tables]
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise self._mixed(", ".join(self._shape.extras), error) from error
        return concat_tables([InMemoryTable(table) for table in promoted])

    def _mixed(self, name: str, error: Exception) -> DataError:
        return DataError(f'{self._shape.origin}: column "{name}" holds values of different types: {error}')


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes when the process ends, beside the other Arrow files: /tmp is often memory too."""
    from datasets import config

    try:
        os.makedirs(config.HF_DATASETS_CACHE, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="aligntune-", dir=config.HF_DATASETS_CACHE)
    except OSError:  # a cache that cannot be written to
        return tempfile.TemporaryDirectory(prefix="aligntune-")


def scratch_file(suffix: str) -> str:
    """A new empty file that goes when the process ends."""
    handle, path = tempfile.mkstemp(suffix=suffix, dir=_folder().name)
    os.close(handle)
    return path


def features(columns: Sequence[str], entry: Format) -> Any:
    """Canonical columns as features of the ``datasets`` library: lists of messages, and what the format declares."""
    from datasets import Features

    return Features.from_arrow_schema(_schema(columns, entry))


def canonical_table(
    rows: Sequence[Mapping[str, Any]], shape: Shape, tokens: Sequence[Mapping[str, Any] | None]
) -> Any:
    """Canonical rows as an Arrow table, beside the columns of their tokens where there are any."""
    import pyarrow as pa

    table = pa.Table.from_pylist(list(rows), schema=_schema(shape.target.columns, shape.format))
    for name in next((row for row in tokens if row), {}):
        values = [None if row is None else row[name] for row in tokens]
        table = table.append_column(name, pa.array(values, pa.list_(pa.int32())))
    return table


def carried(dataset: Any, extras: Mapping[str, str], kept: Sequence[int]) -> Any:
    """The columns of a dataset that are carried along, under their new names, with the types that they have."""
    from datasets import concatenate_datasets

    rows = dataset.with_format(None).select(kept)
    columns = []
    for name, column in extras.items():
        alone = rows.select_columns([column])
        columns.append(alone if column == name else alone.rename_column(column, name))
    return concatenate_datasets(columns, axis=1)


def _schema(columns: Sequence[str], entry: Format) -> Any:
    import pyarrow as pa

    return pa.schema([(column, _arrow_type(entry.type_of(column))) for column in columns])


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    if name == MESSAGES:
        return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.list_(_arrow_type(name[:-2])) if name.endswith("[]") else pa.type_for_alias(name)
