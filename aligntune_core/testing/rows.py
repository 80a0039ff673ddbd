"""The kit's own rows, and its reward. Each row carries its number ("#03"), so that it is recognised in a batch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aligntune_core.algorithms import find

ROWS = 6
HELD_OUT = 3
OTHERS = 2
"""Rows that are neither trained on nor held out."""
MARK = re.compile(r"#(\d\d)")
REWARD = "aligntune_core.testing.rows:reward"

_WORDS = ("bread", "water", "salt", "yeast", "flour", "oven", "bowl", "hour", "warm", "cold", "slow", "fast")


def rows(algorithm: str, count: int = ROWS, first: int = 0) -> list[dict[str, Any]]:
    """Conversational rows for any algorithm; their lengths differ, and row 2 is a long one."""
    columns = find(algorithm).columns
    return [{column: _turn(column, number) for column in columns} for number in range(first, first + count)]


def row_of(text: str) -> int | None:
    """The number of the row that ``text`` came from; None where it carries no mark."""
    found = MARK.search(text)
    return int(found[1]) if found else None


def reward(completions: Sequence[Any], **_: Any) -> list[float]:
    """A reward for online algorithms that differs within a group: the share of distinct characters."""
    texts = [c if isinstance(c, str) else "".join(m["content"] for m in c) for c in completions]
    return [len(set(text)) / (1 + len(text)) for text in texts]


def _turn(column: str, number: int) -> list[dict[str, str]]:
    role = "user" if column == "prompt" else "assistant"
    length = (
        {"prompt": 2, "rejected": 4}.get(column, 3)
        + number % 3
        + (9 if number == 2 and role != "user" else 0)
    )
    words = " ".join(_WORDS[(number * 5 + i * (len(column) + 1)) % len(_WORDS)] for i in range(length))
    # The mark is at both ends, so that a row is known whichever end is cut.
    content = f"#{number:02} {words}" if role == "user" else f"{words} #{number:02}"
    return [{"role": role, "content": content}]
