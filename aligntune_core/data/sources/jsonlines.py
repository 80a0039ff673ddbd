"""JSON lines of any size: where each line starts is kept in memory, the rows are parsed when their batch is read.

The JSON loader of ``datasets`` copies a file into Arrow columns of one type each, and changes values on the way: texts
that are dates become timestamps, 1 beside 2.5 becomes 1.0. So the lines stay as they are, in their own file, and what
is made of them, the canonical rows, goes to Arrow (``reading/spool.py``). A line that is no JSON costs one row and is
named.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from aligntune_core.data.reading.rows import BATCH, Places, RowSource
from aligntune_core.data.reading.spool import scratch_file
from aligntune_core.data.sources.jsonfiles import BOM, parse_line


@dataclass(frozen=True)
class JsonLines(Sequence[Any]):
    """The rows of a file of JSON lines, parsed when they are asked for.

    Attributes:
        path: a file that can be read from any place.
        bounds: where each row starts, and where the last one ends, in bytes.
    """

    path: str
    bounds: Sequence[int]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return replace(self, bounds=self.bounds[start : max(start, stop) + 1])
        if not 0 <= index < len(self):
            raise IndexError(index)
        with open(self.path, "rb") as stream:
            return self._read(stream, index, index + 1)[0]

    def __iter__(self) -> Iterator[Any]:
        with open(self.path, "rb") as stream:
            for start in range(0, len(self), BATCH):
                yield from self._read(stream, start, min(start + BATCH, len(self)))

    def _read(self, stream: IO[bytes], start: int, stop: int) -> list[Any]:
        stream.seek(self.bounds[start])
        block = stream.read(self.bounds[stop] - self.bounds[start])
        return [parse_line(line) for line in block.split(b"\n") if line.strip()]


def open_lines(path: Path, name: str, open_file: Callable[[], IO[bytes]]) -> RowSource:
    """Look at each line once: where it starts, and which columns it has.

    Args:
        path: the file.
        name: what to call it in messages.
        open_file: opens it, unpacked. A packed one is unpacked into a file of this process's own.
    """
    plain = str(path)
    if path.name.lower().endswith(".gz"):
        plain = scratch_file(".jsonl")
        with open_file() as packed, open(plain, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 2**20)
    bounds, numbers = array("q"), array("q")
    columns: dict[str, None] = {}
    position = 0
    with open(plain, "rb") as stream:
        for number, line in enumerate(stream, 1):
            bare = line.removeprefix(BOM) if number == 1 else line
            if bare.strip():
                bounds.append(position + len(line) - len(bare))
                numbers.append(number)
                row = parse_line(bare)
                if isinstance(row, dict):
                    columns.update(dict.fromkeys(row))
            position += len(line)
    bounds.append(position)
    return RowSource(
        name, JsonLines(plain, bounds), tuple(columns), range(len(numbers)), Places(name, numbers)
    )
