"""Rows as tables of Arrow: small ones stay in memory, large ones go to a file that is mapped."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from aligntune_core.data.formats.base import MESSAGES, TOOLS, Format, Shape
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

    def __bool__(self) -> bool:
        return self._bytes > 0

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
    """Canonical columns of a stream as features of the ``datasets`` library; messages may have any keys."""
    from datasets import Features

    return Features.from_arrow_schema(_schema(columns, entry, rich=True))


class Canonical:
    """Canonical rows, beside the columns of their tokens where there are any.

    A message is a struct of role and content. Where one of them has more (calls of tools, reasoning, a weight), all are
    kept as JSON, so that none gets the keys of another.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._plain, self._rich = [Spool()], [Spool()]  # in the order of the rows: plain, rich, plain, ...
        self._last_rich = False

    def add(self, rows: Sequence[Mapping[str, Any]], tokens: Sequence[Mapping[str, Any] | None]) -> None:
        """Take some more rows."""
        import pyarrow as pa

        rich = any(_is_rich(row) for row in rows)
        table = self._table(rows, rich)
        for name in next((row for row in tokens if row), {}):
            if name in self._shape.columns_made:
                continue  # rows that were tokens already
            values = [None if row is None else row[name] for row in tokens]
            table = table.append_column(name, pa.array(values, pa.list_(pa.int32())))
        if self._last_rich and not rich:
            self._plain.append(Spool())
            self._rich.append(Spool())
        self._last_rich = rich
        (self._rich if rich else self._plain)[-1].add(table)

    def table(self) -> Any:
        """All of it as a table of the ``datasets`` library."""
        from datasets.table import concat_tables

        if not any(self._rich):
            return self._plain[0].table()
        parts = []
        for plain, rich in zip(self._plain, self._rich, strict=True):
            parts += [self._enriched(plain)] if plain else []
            parts += [rich.table()] if rich else []
        return parts[0] if len(parts) == 1 else concat_tables(parts)

    def _table(self, rows: Sequence[Mapping[str, Any]], rich: bool) -> Any:
        import pyarrow as pa

        columns, entry = self._shape.columns_made, self._shape.format
        if not rich:
            return pa.Table.from_pylist(list(rows), schema=_schema(columns, entry))
        arrays = []
        for name in columns:
            values = [row[name] for row in rows]
            if _type_of(name, entry) == MESSAGES:
                values = [[json.dumps(message, ensure_ascii=False) for message in cell] for cell in values]
                arrays.append(pa.array(values, pa.list_(pa.string())))
            else:
                arrays.append(pa.array(values, _arrow_type(_type_of(name, entry))))
        return pa.table(arrays, names=list(columns)).cast(_schema(columns, entry, rich=True))

    def _enriched(self, plain: Spool) -> Any:
        """Plain rows with their messages as JSON."""
        spool, table = Spool(), plain.table()
        for batch in table.to_batches(max_chunksize=1000):
            made = self._table(batch.select(list(self._shape.columns_made)).to_pylist(), rich=True)
            for name in batch.schema.names:
                if name not in self._shape.columns_made:
                    made = made.append_column(name, batch.column(name))
            spool.add(made)
        return spool.table()


def _is_rich(row: Mapping[str, Any]) -> bool:
    """Whether a message of a canonical row has more than a role and a content."""
    return any(
        len(message) > 2
        for cell in row.values()
        if isinstance(cell, list)
        for message in cell
        if isinstance(message, dict)
    )


def carried(dataset: Any, extras: Mapping[str, str], kept: Sequence[int]) -> Any:
    """The columns of a dataset that are carried along, under their new names, with the types that they have."""
    from datasets import concatenate_datasets

    rows = dataset.with_format(None).select(kept)
    columns = []
    for name, column in extras.items():
        alone = rows.select_columns([column])
        columns.append(alone if column == name else alone.rename_column(column, name))
    return concatenate_datasets(columns, axis=1)


def _schema(columns: Sequence[str], entry: Format, rich: bool = False) -> Any:
    import pyarrow as pa

    types = {column: _type_of(column, entry) for column in columns}
    messages = pa.list_(pa.json_()) if rich else _arrow_type(MESSAGES)
    return pa.schema([(n, messages if t == MESSAGES else _arrow_type(t)) for n, t in types.items()])


def _type_of(column: str, entry: Format) -> str:
    """The type of a canonical column; definitions of tools are a JSON text, whatever the format."""
    return "string" if column == TOOLS else entry.type_of(column)


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    if name == MESSAGES:
        return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.list_(_arrow_type(name[:-2])) if name.endswith("[]") else pa.type_for_alias(name)
