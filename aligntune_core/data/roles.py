"""Roles that columns play, and the names of columns that say so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aligntune_core.wording import listed

# Role -> names it goes by, the first the most telling. These serve as column names and in column_mapping.
ROLES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction", "question", "query"),
    "input": ("input", "context"),
    "completion": ("completion", "response", "answer", "output"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "messages": ("messages", "conversations", "conversation"),
    "text": ("text",),
    "system": ("system", "system_prompt"),
    "label": ("label",),
}
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_INDEX = re.compile(r"Unnamed: \d+$")
_ODD = re.compile(r"^\s|\s$|[,:;]")


def plain_name(column: str) -> str:
    """A column's name without capitals and outer blanks."""
    return column.strip().lower()


def alike_column(name: str, columns: Sequence[str]) -> str | None:
    """The column called ``name``, or else the only one that differs from it in capitals and outer blanks alone."""
    if name in columns:
        return name
    found = [column for column in columns if plain_name(column) == name]
    return found[0] if len(found) == 1 else None


def is_index(column: str) -> bool:
    """Whether a column is what writers of tables call their row numbers: nothing, or "Unnamed: 0"."""
    return not column.strip() or _INDEX.match(column) is not None


def shown(columns: Iterable[str]) -> str:
    """Names of columns for a message; quoted where they would be misread."""
    return listed(
        '"" (a column without a name)' if not name else f'"{name}"' if _ODD.search(name) else name
        for name in columns
    )
