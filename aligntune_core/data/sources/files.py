"""Reading json, jsonl, csv, tsv, txt, md, parquet and arrow files.

General loaders stop at the first broken line, or call a byte that is no UTF-8 by its offset; here each line is read by
itself, so one bad line costs one row and is named.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aligntune_core.data.rows import Broken, RowSource, from_dataset, from_list
from aligntune_core.data.sources.jsonfiles import ESCAPED, holds_lines, not_utf8, open_lines, read_json
from aligntune_core.errors import DataError
from aligntune_core.model.hub import EXTENSIONS

TABLES = (".parquet", ".arrow")
PROSE = (".txt", ".md")
_CSV = {".csv": ",", ".tsv": "\t"}


def kind_of(path: Path) -> str | None:
    """The extension that says how to read ``path`` (".jsonl" for "a.jsonl.gz"), or None."""
    name = path.name.lower().removesuffix(".gz")
    return next((extension for extension in EXTENSIONS if name.endswith(extension)), None)


def read_file(path: Path, name: str) -> RowSource:
    """Read one data file; ``name`` is what to call it in messages.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    kind = kind_of(path)
    if path.stat().st_size == 0:
        raise DataError(f"{name}: the file is empty.")
    if kind in TABLES:
        return from_dataset(_read_table(path, kind, name), name)
    with _readable(path, name):
        if kind not in (*_CSV, *PROSE) and holds_lines(lambda: _open(path), kind != ".json"):
            source = open_lines(path, name, lambda: _open(path))
        else:
            pairs = list(iterate_file(path, name))
            source = from_list([row for _, row in pairs], name, [line for line, _ in pairs], f"{name}:")
    if not len(source):
        raise DataError(f"{name}: the file holds no rows.")
    return source


def iterate_file(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """Yield (line number counted from 1, row or ``Broken``) of a text file, read as it goes."""
    kind = kind_of(path)
    with _readable(path, name):
        if kind in _CSV:
            yield from _csv_rows(path, name, _CSV[kind])
        elif kind in PROSE:
            yield from _texts(path, whole=kind == ".md")
        else:
            yield from read_json(lambda: _open(path), name, kind != ".json")


@contextmanager
def _readable(path: Path, name: str) -> Iterator[None]:
    """Errors of files that cannot be read as a whole, in our words."""
    try:
        with _open(path) as stream:
            if stream.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError(f"{name}: the file is UTF-16. Save it as UTF-8.")
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{name}: cannot be unpacked: {error}. The file is cut off, or is no gzip file; fetch or write it again."
        ) from error


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _texts(path: Path, *, whole: bool) -> Iterator[tuple[int, Any]]:
    """Rows of plain text: each line that is not blank, or the file as one."""
    with _open(path) as stream:
        chunks = [(1, stream.read())] if whole else enumerate(stream, 1)
        for line, chunk in chunks:
            text = chunk.decode("utf-8-sig" if line == 1 else "utf-8", "surrogateescape")
            odd = ESCAPED.search(text)
            if text.strip():
                yield (
                    line,
                    Broken(not_utf8(odd[0])) if odd else {"text": text if whole else text.rstrip("\r\n")},
                )


def _csv_rows(path: Path, name: str, delimiter: str) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(2**31 - 1)
    with (
        _open(path) as binary,
        io.TextIOWrapper(binary, "utf-8-sig", errors="surrogateescape", newline="") as stream,
    ):
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        header: list[str] = []
        line = 1
        try:
            for values in reader:
                if not header:  # lines above it that hold nothing are no header
                    header = _header(values, name, line) if any(map(str.strip, values)) else []
                elif values:
                    yield line, _csv_row(header, values)
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{name}:{line}: not valid CSV: {error}. Look for an unclosed quote.") from None


def _header(values: list[str], name: str, line: int) -> list[str]:
    doubled = sorted({value for value in values if values.count(value) > 1})
    if doubled:
        raise DataError(f"{name}:{line}: the header names {', '.join(doubled)} more than once.")
    other = next((mark for mark in ";\t|" if len(values) == 1 and mark in values[0]), None)
    if other:
        raise DataError(
            f"{name}:{line}: the header {values[0]!r} is one column; the file seems to be separated by {other!r}. Write it "
            "with commas (.csv) or tabs (.tsv)."
        )
    return values


def _csv_row(header: list[str], values: list[str]) -> Any:
    if len(values) != len(header):
        return Broken(f"{len(values)} fields, but the header has {len(header)}")
    odd = ESCAPED.search("\n".join(values))
    return Broken(not_utf8(odd[0])) if odd else dict(zip(header, values, strict=True))


def _read_table(path: Path, kind: str, name: str) -> Any:
    """A parquet file, or an arrow file in the file or the stream layout, as a ``datasets.Dataset`` over its table."""
    import pyarrow as pa
    from datasets import Dataset
    from pyarrow import parquet

    try:
        if kind == ".parquet":
            return Dataset(parquet.read_table(path, memory_map=True))
        mapped = pa.memory_map(str(path))
        try:
            return Dataset(pa.ipc.open_file(mapped).read_all())
        except pa.ArrowInvalid:
            mapped.seek(0)
            return Dataset(pa.ipc.open_stream(mapped).read_all())
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{name}: cannot be read as {kind[1:]}: {error}") from error
