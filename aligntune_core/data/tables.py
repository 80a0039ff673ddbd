"""Rows as tables of Arrow: small ones stay in memory, large ones go to a file that is mapped."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
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
    """The columns that are carried along, of rows that are no dataset's, with the values that they have there.

    A column of texts, of whole numbers, of floats, of truth values, or of lists of one of these has that type. Any
    other (numbers of both kinds, objects, values of several types) is kept as JSON, so that no value becomes another.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._spools: list[tuple[Any, Spool]] = []  # batches of one type each

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the columns of some more rows.

        Raises:
            DataError: values of a column have no common type, and are not JSON either.
        """
        import pyarrow as pa

        arrays = []
        for name, column in self._shape.extras.items():
            values = [row.get(column) for row in rows]
            try:
                kind = _kind(values)
                arrays.append(_as_json(values) if kind is None else pa.array(values, kind))
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError) as error:
                raise self._mixed(name, error) from error
        table = pa.table(arrays, names=list(self._shape.extras))
        if not self._spools or self._spools[-1][0] != table.schema:
            self._spools.append((table.schema, Spool()))
        self._spools[-1][1].add(table)

    def table(self) -> Any:
        """All of it, each column of one type that holds all its values unchanged."""
        import pyarrow as pa
        from datasets.table import concat_tables

        if len(self._spools) == 1:
            return self._spools[0][1].table()
        fields = []
        for name in self._shape.extras:
            kind = reduce(_common, (schema.field(name).type for schema, _ in self._spools))
            fields.append(pa.field(name, kind))
        return concat_tables([self._cast(spool.table(), pa.schema(fields)) for _, spool in self._spools])

    def _cast(self, table: Any, schema: Any) -> Any:
        """A table of some of the batches, with the types of all of them."""
        import pyarrow as pa

        if table.schema == schema:
            return table
        spool = Spool()
        for batch in table.to_batches(max_chunksize=1000):
            arrays = []
            for field in schema:
                column = batch.column(field.name)
                if column.type != field.type and field.type == pa.json_():
                    try:
                        column = _as_json(column.to_pylist())
                    except TypeError as error:
                        raise self._mixed(field.name, error) from error
                arrays.append(column if column.type == field.type else column.cast(field.type))
            spool.add(pa.table(arrays, schema=schema))
        return spool.table()

    def _mixed(self, name: str, error: Exception) -> DataError:
        return DataError(f'{self._shape.origin}: column "{name}" holds values of different types: {error}')


def _kind(values: Sequence[Any]) -> Any:
    """The Arrow type that holds values unchanged, or None where JSON must."""
    import pyarrow as pa

    types = set(map(type, values)) - {type(None)}
    if not types:
        return pa.null()
    if types <= {list, tuple}:
        kind = _kind([item for value in values if value is not None for item in value])
        return None if kind is None else pa.list_(kind)
    if len(types) > 1 or dict in types:
        return None
    only = types.pop()
    if only is int:
        whole = all(value is None or -(2**63) <= value < 2**63 for value in values)
        return pa.int64() if whole else None
    plain = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    return plain.get(only) or pa.array(values).type


def _common(one: Any, other: Any) -> Any:
    """The type that holds the values of both unchanged: JSON, where neither does."""
    import pyarrow as pa

    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_list(one) and pa.types.is_list(other):
        inner = _common(one.value_type, other.value_type)
        if inner != pa.json_():
            return pa.list_(inner)
    return pa.json_()


def _as_json(values: Sequence[Any]) -> Any:
    """Values as a column of JSON, which the ``datasets`` library reads back as they were."""
    import pyarrow as pa

    exact_json()
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.array(texts, pa.string()).cast(pa.json_())


@lru_cache(maxsize=1)
@lru_cache(maxsize=1)  # once a process: a second call would wrap the writer of the first
def exact_json() -> None:
    """Let JSON values of the ``datasets`` library be read and written as they are, in this process.

    It reads them with a reader that is fast and off by the last bit in every third float, refuses large integers, and
    writes ten decimals when a table is mapped. There is no setting for it.
    """
    from datasets.features import features as library

    theirs = library.ujson_dumps

    def dumps(value: Any, *arguments: Any, **keywords: Any) -> str:
        try:
            return json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):  # no JSON: the library knows dates and the like
            return str(theirs(value, *arguments, **keywords))

    library.ujson_loads, library.ujson_dumps = json.loads, dumps


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

    exact_json()
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
        exact_json()
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
