"""Split expressions: a name, a slice of it ("train[:50]", "train[10%:20%]"), or several joined with "+"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from aligntune_core.errors import DataError
from aligntune_core.wording import did_you_mean, listed

_PART = re.compile(
    r"^\s*(?P<name>[^\[\]+\s]+)\s*(?:\[\s*(?P<start>-?\d+%?)?\s*:\s*(?P<stop>-?\d+%?)?\s*\])?\s*$"
)


@dataclass(frozen=True)
class SplitSlice:
    """One part of a split expression; bounds as written ("10%", "-5"), None where open."""

    name: str
    start: str | None = None
    stop: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether no slice was asked for."""
        return self.start is None and self.stop is None

    @property
    def in_percent(self) -> bool:
        """Whether a bound depends on the number of rows."""
        return any(
            bound is not None and (bound.endswith("%") or bound.startswith("-"))
            for bound in (self.start, self.stop)
        )

    def bounds(self, count: int) -> range:
        """The rows meant, of ``count``. Percentages round to the closest row, as in ``datasets``."""
        start = _absolute(self.start, count, 0)
        return range(start, max(start, _absolute(self.stop, count, count)))

    def __str__(self) -> str:
        return self.name if self.is_whole else f"{self.name}[{self.start or ''}:{self.stop or ''}]"


def _absolute(bound: str | None, count: int, default: int) -> int:
    if bound is None:
        return default
    value = round(int(bound[:-1]) * count / 100) if bound.endswith("%") else int(bound)
    return min(max(value + count if value < 0 else value, 0), count)


def parse_split(expression: str, keyword: str = "split") -> list[SplitSlice]:
    """Read a split expression.

    Raises:
        DataError: it cannot be read; says what is understood.
    """
    parts = []
    for text in expression.split("+"):
        match = _PART.match(text)
        if match is None:
            raise DataError(
                f'{keyword}="{expression}" cannot be read. Write a split\'s name, or a slice of it: '
                "train, train[:50], train[10%:20%], train[:100]+validation[:20]."
            )
        parts.append(SplitSlice(match["name"], match["start"], match["stop"]))
    return parts


def require_split(name: str, available: Iterable[str], origin: str, keyword: str = "split") -> None:
    """Raise with the available names unless ``name`` is one of them."""
    available = list(available)
    if name not in available:
        raise DataError(
            f'{origin} has no split "{name}".{did_you_mean(name, available)} It has: {listed(available)}. '
            f"Choose one with {keyword}=."
        )
