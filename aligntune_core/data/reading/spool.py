"""Arrow tables that come one after the other: small ones stay in memory, large ones go to a file that is mapped."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from typing import Any

IN_MEMORY = 64 * 2**20
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
        if self._writer is not None:
            self._writer.write_table(table)
            return
        self._tables.append(table)
        self._bytes += table.nbytes
        if self._bytes > IN_MEMORY:
            self._spill()

    def table(self) -> Any:
        """All of it as a table of the ``datasets`` library, in memory or mapped. Nothing can be added any more."""
        import pyarrow as pa
        from datasets.table import InMemoryTable, MemoryMappedTable

        if self._writer is None:
            return InMemoryTable(pa.concat_tables(self._tables))
        self._writer.close()
        return MemoryMappedTable.from_file(self._path)

    def _spill(self) -> None:
        import pyarrow as pa

        self._path = scratch_file(".arrow")
        self._writer = pa.ipc.new_stream(self._path, self._tables[0].schema)
        for table in self._tables:
            self._writer.write_table(table)
        self._tables = []


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
