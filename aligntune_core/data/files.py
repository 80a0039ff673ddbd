"""Reading json, jsonl, csv, tsv, parquet and arrow files, so that each broken line is known by its number.

The general loaders stop at the first broken line, or call a byte that is no UTF-8 by its offset; here each line is
read by itself, so one bad line costs one row and is named.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from aligntune_core.data.rows import Broken, RowSource, from_dataset, from_list
from aligntune_core.errors import DataError, a_type

EXTENSIONS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_ESCAPED = re.compile("[\udc80-\udcff]")  # how undecodable bytes come out of errors="surrogateescape"
_BLANK = re.compile(r"[ \t\r\n]*")
_WRAPPED = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[')  # {"data": [


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
    if kind in (".parquet", ".arrow"):
        return from_dataset(_read_table(path, kind, name), name)
    pairs = list(iterate_file(path, name))
    source = from_list([row for _, row in pairs], name, [f"{name}:{line}" for line, _ in pairs])
    if not pairs:
        raise DataError(f"{name}: the file holds no rows.")
    return source


def iterate_file(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """Yield (line number counted from 1, row or ``Broken``) of a text file, read as it goes."""
    kind = kind_of(path)
    _refuse_utf16(path, name)
    if kind in (".csv", ".tsv"):
        yield from _csv_rows(path, name, "\t" if kind == ".tsv" else ",")
    elif kind == ".json" and _first_character(path) != "{":
        yield from _array_rows(path, name)
    elif kind == ".json":
        yield from _object_or_lines(path, name)
    else:
        yield from _json_lines(path)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _refuse_utf16(path: Path, name: str) -> None:
    with _open(path) as stream:
        if stream.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{name}: the file is UTF-16. Save it as UTF-8.")


def _first_character(path: Path) -> str:
    with _open(path) as stream:
        for line in stream:
            text = line.decode("utf-8-sig", errors="replace").strip()
            if text:
                return text[0]
    return ""


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with _open(path) as stream:
        for number, line in enumerate(stream, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, parse_line(line)


def parse_line(line: bytes) -> Any:
    """One line as a JSON object, or ``Broken`` with what is wrong with it."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Broken(
            f"byte 0x{line[error.start]:02x} at position {error.start + 1} of the line is not UTF-8"
        )
    except json.JSONDecodeError as error:
        return Broken(f"not valid JSON: {error.msg} at position {error.pos + 1} of the line")
    except RecursionError:
        return Broken("not valid JSON: nested too deeply")
    return row if isinstance(row, dict) else Broken(f"{a_type(row)}, not a JSON object")


def _decode_whole(path: Path, name: str) -> str:
    with _open(path) as stream:
        data = stream.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}:{line}: byte 0x{data[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        ) from None


def _array_rows(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    text = _decode_whole(path, name)
    position = _skip(text, 0)
    if text[position : position + 1] != "[":
        raise DataError(f"{name}:1: neither a JSON array nor JSON objects, one a line.")
    yield from _elements(text, position + 1, name)


def _elements(text: str, position: int, name: str) -> Iterator[tuple[int, Any]]:
    """Elements of a JSON array from ``position`` on, each with the line it starts on."""
    decoder = json.JSONDecoder()
    line, counted = 1, 0
    position = _skip(text, position)
    while text[position : position + 1] != "]":
        line, counted = line + text.count("\n", counted, position), position
        try:
            row, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{name}:{error.lineno}: not valid JSON: {error.msg} (column {error.colno})."
            ) from None
        yield line, row if isinstance(row, dict) else Broken(f"{a_type(row)}, not a JSON object")
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != "]":
            here = text.count("\n", 0, position) + 1
            raise DataError(f"{name}:{here}: not valid JSON: a comma or the end of the array was expected.")


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _object_or_lines(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """A .json file that starts with "{": one object that holds a list of rows, or JSON lines."""
    try:
        text = _decode_whole(path, name)
        whole = json.loads(text)
    except (json.JSONDecodeError, DataError):
        yield from _json_lines(path)
        return
    lists = [
        k for k, value in whole.items() if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    start = _WRAPPED.match(text)
    if len(whole) == 1 and lists and start is not None:
        yield from _elements(text, start.end(), name)
    elif len(lists) > 1:
        raise DataError(
            f"{name}: one JSON object with several lists ({', '.join(lists)}). Put each into a file of its own, "
            "e.g. train.jsonl and test.jsonl."
        )
    else:
        yield 1, whole


def _csv_rows(path: Path, name: str, delimiter: str) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(2**31 - 1)
    with (
        _open(path) as binary,
        io.TextIOWrapper(binary, "utf-8-sig", errors="surrogateescape", newline="") as stream,
    ):
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader, None)
            except csv.Error as error:
                raise DataError(
                    f"{name}:{line}: not valid CSV: {error}. Look for an unclosed quote."
                ) from None
            if values is None:
                return
            if header is None:
                header = _header(values, name)
            elif values:
                yield line, _csv_row(header, values)


def _header(values: list[str], name: str) -> list[str]:
    doubled = sorted({value for value in values if values.count(value) > 1})
    if doubled:
        raise DataError(f"{name}:1: the header names {', '.join(doubled)} more than once.")
    other = next((mark for mark in ";\t|" if len(values) == 1 and mark in values[0]), None)
    if other:
        raise DataError(
            f"{name}:1: the header {values[0]!r} is one column; the file seems to be separated by {other!r}. Write it "
            "with commas (.csv) or tabs (.tsv)."
        )
    return values


def _csv_row(header: list[str], values: list[str]) -> Any:
    if len(values) != len(header):
        return Broken(f"{len(values)} fields, but the header has {len(header)}")
    for value in values:
        found = _ESCAPED.search(value)
        if found:
            return Broken(f"byte 0x{ord(found[0]) - 0xDC00:02x} is not UTF-8")
    return dict(zip(header, values, strict=True))


def _read_table(path: Path, kind: str, name: str) -> Any:
    """A parquet or arrow file as a ``datasets.Dataset`` over its table."""
    import pyarrow as pa
    from datasets import Dataset
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, memory_map=True) if kind == ".parquet" else _read_arrow(path, pa)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{name}: cannot be read as {kind[1:]}: {error}") from error
    return Dataset(table)


def _read_arrow(path: Path, pa: Any) -> Any:
    """An arrow file, in the file or in the stream layout."""
    mapped = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(mapped).read_all()
    except pa.ArrowInvalid:
        mapped.seek(0)
        return pa.ipc.open_stream(mapped).read_all()
