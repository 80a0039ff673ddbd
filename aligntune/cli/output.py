"""Print the results of commands: JSON for programs, tables for people."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

Cell = str | tuple[str, str]

NARROWEST = 16

STATE_COLOURS = {
    "ready": "green",
    "missing": "yellow",
    "disabled": "dim",
    "broken": "red",
    "incompatible": "red",
    "conflict": "red",
}


_json_streams: list[TextIO] = []


@contextmanager
def stdout_is_jsons() -> Iterator[None]:
    """Send what plugins and libraries print meanwhile to stderr, so that stdout holds the JSON alone."""
    _json_streams.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _json_streams.pop()


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; what JSON does not know is written as text."""
    text = json.dumps(value, indent=2, default=str, ensure_ascii=False)
    typer.echo(text, file=_json_streams[-1] if _json_streams else None)


def console() -> Console:
    """The console of stdout."""
    from rich.console import Console

    return Console(highlight=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table as wide as the terminal; all columns but the first wrap.

    Not rich's table, whose import would be a tenth of the time that ``aligntune backends`` takes.

    Args:
        columns: headings.
        rows: cells; a cell is a text, or a text with one of typer's colours ("dim" too).
    """
    cells = [[cell if isinstance(cell, tuple) else (cell, "") for cell in row] for row in rows]
    longest = [max(len(row[n][0]) for row in cells) if cells else 0 for n in range(len(columns))]
    widths = _fitted([max(len(name), width) for name, width in zip(columns, longest, strict=True)])
    typer.secho(_line(columns, widths), bold=True)
    typer.secho("-" * min(sum(widths) + 2 * len(widths) - 2, _terminal_width()), dim=True)
    for row in cells:
        wrapped = [textwrap.wrap(text, width) or [""] for (text, _), width in zip(row, widths, strict=True)]
        for parts in zip_longest(*wrapped, fillvalue=""):
            styled = [_styled(part.ljust(w), c) for part, w, (_, c) in zip(parts, widths, row, strict=True)]
            typer.echo("  ".join(styled).rstrip())
    typer.echo()


def _fitted(widths: list[int]) -> list[int]:
    """Narrow the widest columns, never the first, until the table fits or none is wider than a word."""
    while sum(widths) + 2 * len(widths) - 2 > _terminal_width():
        number = max(range(1, len(widths)), key=widths.__getitem__, default=0)
        if number == 0 or widths[number] <= NARROWEST:
            break
        widths[number] -= 1
    return widths


def _terminal_width() -> int:
    return shutil.get_terminal_size().columns


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()


def _styled(text: str, colour: str) -> str:
    if not colour:
        return text
    return typer.style(text, dim=True) if colour == "dim" else typer.style(text, fg=colour)
