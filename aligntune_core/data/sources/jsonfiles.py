"""Rows of JSON files: one object a line, an array, one object that holds the rows, or objects over several lines.

Each row is read by itself, so that what is wrong with one costs one row and is named by its line. The JSON loader of
``datasets`` stops at it, and copies a file into Arrow columns of one type each, which changes values: texts that are
dates become timestamps, 1 beside 2.5 becomes 1.0. So lines stay in their own file, whatever its size: where each starts
is kept in memory, and a row is parsed when its batch is read. Files of another layout are read whole.
"""

from __future__ import annotations

import json
import re
import shutil
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from aligntune_core.data.columns import ROLE_OF
from aligntune_core.data.conversations import as_row, is_message
from aligntune_core.data.rows import Broken, RowSource
from aligntune_core.data.tables import scratch_file
from aligntune_core.errors import DataError
from aligntune_core.wording import a_type

Rows = Iterator[tuple[int, Any]]
Open = Callable[[], IO[bytes]]

ESCAPED = re.compile("[\udc80-\udcff]")  # how undecodable bytes come out of errors="surrogateescape"
_BLANK = re.compile(r"[ \t\r\n]*")
_BOM = b"\xef\xbb\xbf"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class JsonLines(Sequence[Any]):
    """The rows of a file of JSON lines, parsed when they are asked for."""

    path: str  # a file that can be read from any place
    starts: Sequence[int]  # where each row starts, in bytes

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: Any) -> Any:
        part = replace(
            self, starts=self.starts[index if isinstance(index, slice) else slice(index, index + 1)]
        )
        return part if isinstance(index, slice) else next(iter(part))

    def __iter__(self) -> Iterator[Any]:
        with open(self.path, "rb") as stream:
            stream.seek(self.starts[0] if self.starts else 0)
            yield from map(parse_line, islice(filter(bytes.strip, stream), len(self)))


def open_lines(path: Path, name: str, open_file: Open) -> RowSource:
    """Look at each line once: where it starts, and which columns it has.

    A packed file is unpacked into one of this process's own, where lines can be read again.
    """
    plain = str(path)
    if path.name.lower().endswith(".gz"):
        plain = scratch_file(".jsonl")
        with open_file() as packed, open(plain, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 2**20)
    starts, numbers = array("q"), array("q")
    columns: dict[str, None] = {}
    with open(plain, "rb") as stream:
        for number, start, line in _numbered(stream):
            starts.append(start)
            numbers.append(number)
            row = parse_line(line)
            if isinstance(row, dict):
                columns.update(dict.fromkeys(row))
    return RowSource(name, JsonLines(plain, starts), tuple(columns), numbers, f"{name}:")


def read_json(open_file: Open, name: str, lines: bool) -> Rows:
    """Yield (line counted from 1, row or ``Broken``).

    ``lines``: the file's name says that it holds JSON lines. What is in it counts more: arrays and objects over several
    lines are read all the same.

    Raises:
        DataError: it is no JSON from which rows could be told.
    """
    if holds_lines(open_file, lines):
        return _lines(open_file)
    first, _ = _first_lines(open_file)
    with open_file() as stream:
        text = stream.read().decode("utf-8-sig", "surrogateescape")
    if first[:1] == b"{":
        rows = _one_object(text, name)
        if rows is None and not _is_whole(first) and _starts_with_value(text):
            rows = _objects(text)
        return rows or _lines(open_file)
    if lines and first not in (b"[", b"[{") and not _is_whole(text):
        return _lines(open_file)
    start = _skip(text, 0)
    if text[start : start + 1] != "[":
        raise DataError(f"{name}:1: neither a JSON array nor JSON objects, one a line.")
    if _is_conversation(text, start + 1):
        return iter([(1, _checked(json.loads(text), text, 0, len(text)))])
    return _elements(text, start + 1, name)


def _is_conversation(text: str, position: int) -> bool:
    """Whether the array that is the whole of a file holds the messages of one row, rather than rows."""
    try:
        first, _ = _DECODER.raw_decode(text, _skip(text, position))
    except (ValueError, RecursionError):
        return False
    bare = isinstance(first, dict) and first.keys() <= {"role", "content", "from", "value"}
    return bare and is_message(first) and _is_whole(text)


def holds_lines(open_file: Open, lines: bool) -> bool:
    """Whether a file holds one object a line, as its first two lines tell.

    ``lines``: its name says so. Where it does not, one object may be all of the file: a second line must follow.
    """
    first, second = _first_lines(open_file)
    if lines and first[:1] not in b"[{":
        return True
    return first[:1] == b"{" and (lines or bool(second)) and _is_whole(first)


def _first_lines(open_file: Open) -> tuple[bytes, bytes]:
    """The first two lines that are not blank; empty where there is none."""
    with open_file() as stream:
        first, second, *_ = [*(line.strip() for _, _, line in islice(_numbered(stream), 2)), b"", b""]
    return first, second


def _numbered(stream: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """(number counted from 1, where it starts, line) of each line that is not blank."""
    position = 0
    for number, line in enumerate(stream, 1):
        bare = line.removeprefix(_BOM) if number == 1 else line
        if bare.strip():
            yield number, position + len(line) - len(bare), bare
        position += len(line)


def _is_whole(text: str | bytes) -> bool:
    """Whether a text is one JSON value, bytes that are not UTF-8 aside."""
    try:
        json.loads(text if isinstance(text, str) else text.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return False
    return True


def _starts_with_value(text: str) -> bool:
    try:
        _DECODER.raw_decode(text, _skip(text, 0))
    except (ValueError, RecursionError):
        return False  # a broken line: each is read by itself
    return True


def _lines(open_file: Open) -> Rows:
    with open_file() as stream:
        for number, _, line in _numbered(stream):
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
    row = as_row(row)
    return row if isinstance(row, dict) else Broken(f"{a_type(row)}, not a JSON object")


def _checked(row: Any, text: str, start: int, end: int) -> Any:
    """A row that was read from ``text[start:end]``, unless it is no object or has bytes that are not UTF-8."""
    odd = ESCAPED.search(text, start, end)
    if odd:
        return Broken(not_utf8(odd[0]))
    row = as_row(row)
    return row if isinstance(row, dict) else Broken(f"{a_type(row)}, not a JSON object")


def not_utf8(character: str) -> str:
    """What to say of an undecodable byte, given as its surrogate."""
    return f"byte 0x{ord(character) - 0xDC00:02x} is not UTF-8"


def _elements(text: str, position: int, name: str) -> Rows:
    """Elements of a JSON array from ``position`` on, each with the line it starts on."""
    line, counted = 1, 0
    position = _skip(text, position)
    while text[position : position + 1] != "]":
        line, counted = line + text.count("\n", counted, position), position
        start = position
        try:
            row, position = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise _unreadable(text, error.pos, name, error.msg) from None
        yield line, _checked(row, text, start, position)
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != "]":
            raise _unreadable(text, position, name, "a comma or the end of the array was expected")


def _unreadable(text: str, position: int, name: str, what: str) -> DataError:
    line = text.count("\n", 0, position) + 1
    if ESCAPED.match(text, position):
        return DataError(f"{name}:{line}: {not_utf8(text[position])}. Save the file as UTF-8.")
    column = position - text.rfind("\n", 0, position)
    return DataError(f"{name}:{line}: not valid JSON: {what} (column {column}).")


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _one_object(text: str, name: str) -> Rows | None:
    """A file that is one object: the list of rows that it holds, or itself a row. None: it is something else."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return None
    lists = [key for key, value in whole.items() if _is_rows(value)]
    beside = [key for key in whole if key not in lists and key in ROLE_OF]
    if _holds_objects(whole):
        return _members(text)
    if not lists or beside:
        return iter([(1, _checked(whole, text, 0, len(text)))])
    if len(lists) > 1:
        raise DataError(
            f"{name}: one JSON object with several lists ({', '.join(lists)}). Put each into a file of its own, "
            "e.g. train.jsonl and test.jsonl."
        )
    return _elements(text, _start_of_list(text, lists[0]), name)


def _is_rows(value: Any) -> bool:
    """Whether a value is a list of rows: of objects, but not of messages, which belong to one row."""
    objects = isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    return objects and not is_message(value[0])


def _holds_objects(whole: Mapping[str, Any]) -> bool:
    """Whether the values of an object are rows ({"id1": {...}, "id2": {...}}), and its keys no columns."""
    rows = list(whole.values())
    if (
        not rows
        or not all(isinstance(row, Mapping) and row for row in rows)
        or any(k in ROLE_OF for k in whole)
    ):
        return False
    shared = set(rows[0]).intersection(*rows)
    return any(name in ROLE_OF for name in shared)


def _members(text: str) -> Rows:
    """The values of an object, each with the line that it starts on."""
    line, counted = 1, 0
    position = _skip(text, _skip(text, 0) + 1)
    while text[position] != "}":
        _, position = _DECODER.raw_decode(text, position)
        start = _skip(text, _skip(text, position) + 1)  # after the colon
        line, counted = line + text.count("\n", counted, start), start
        row, position = _DECODER.raw_decode(text, start)
        yield line, _checked(row, text, start, position)
        position = _skip(text, position)
        position = _skip(text, position + 1) if text[position] == "," else position


def _start_of_list(text: str, wanted: str) -> int:
    """Where the elements of ``wanted`` start in the text of an object."""
    position = _skip(text, _skip(text, 0) + 1)
    while True:
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)  # the colon
        if key == wanted and text[position] == "[":
            return position + 1
        _, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)  # the comma


def _objects(text: str) -> Rows:
    """Objects one after the other, over several lines each."""
    line, counted = 1, 0
    position = _skip(text, 0)
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        start = position
        try:
            row, position = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            yield line, Broken(f"not valid JSON: {error.msg} (line {error.lineno})")
            following = text.find("\n{", start + 1)
            position = len(text) if following < 0 else following + 1
            continue
        yield line, _checked(row, text, start, position)
        position = _skip(text, position)
