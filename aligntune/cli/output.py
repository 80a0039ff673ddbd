"""How commands print: JSON for programs, tables for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

STATE_STYLES = {
    "ready": "green",
    "missing": "yellow",
    "disabled": "dim",
    "broken": "red",
    "incompatible": "red",
    "conflict": "red",
}


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; what JSON does not know is written as text."""
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def console() -> Console:
    """The console of stdout."""
    from rich.console import Console

    return Console(highlight=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a plain table; its first column is never wrapped. Cells are strings or rich renderables."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(table)
