"""A reward: a function of a completion's text that returns a number."""

from __future__ import annotations

from typing import Any


def brevity(text: str, reference: Any = None, most: int = 200, **columns: Any) -> float:
    """1 for an empty answer, falling to 0 at ``most`` characters.

    Args:
        text: the answer.
        reference: the row's reference answer; not looked at.
        most: characters at which nothing is left; ``{"type": "brevity", "params": {"most": 80}}`` sets it.
        columns: the row's other columns; not looked at.
    """
    return max(0.0, 1.0 - len(text) / most)
