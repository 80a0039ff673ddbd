"""Phrases for messages: names in a list, the nearest name, types with their article, errors on one line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` is a slip of, or the beginning of; None where it is another word.

    Only slips count, since a name that merely looks alike means something else (``eos_token``, ``token``): a letter or
    two of a word wrong, swapped, doubled or left out, but not its first, and no digit. Case and punctuation count for
    nothing.
    """
    spelt = {k.lower(): k for k in known}
    longer = [k for k in spelt if len(name) >= 4 and k.startswith(name.lower())]
    if longer:
        return spelt[longer[0]]  # of several, callers list the usual one first
    slips = {k: slips for k in spelt if (slips := _slips(name.lower(), k)) is not None}
    return spelt[min(slips, key=slips.__getitem__)] if slips else None


def _slips(name: str, other: str) -> int | None:
    """How many letters are wrong in ``name`` if ``other`` is meant; None where it cannot be meant."""
    words, others = re.findall(r"[^\W_]+", name), re.findall(r"[^\W_]+", other)
    if len(words) != len(others):
        words, others = ["".join(words)], ["".join(others)]
        if not words[0] or not others[0] or _letters_wrong(words[0], others[0]) > 1:
            return None
    wrong = [_letters_wrong(*pair) for pair in zip(words, others, strict=True)]
    few = all(_is_slip(*pair, n) for n, pair in zip(wrong, zip(words, others, strict=True), strict=True))
    return sum(wrong) if few and 2 * sum(wrong) < len("".join(others)) else None


def _is_slip(word: str, other: str, wrong: int) -> bool:
    if wrong == 0:
        return True
    if re.sub(r"\D", "", word) != re.sub(r"\D", "", other):
        return False
    same_start = word[0] == other[0] or sorted(word[:2]) == sorted(other[:2])
    return same_start and wrong <= (1 if min(len(word), len(other)) <= 5 else 2)


def _letters_wrong(word: str, other: str) -> int:
    """Letters to put in, take out, change or swap with their neighbour until the words are equal."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(word, 1):
        row = [i]
        for j, target in enumerate(other, 1):
            least = min(rows[-1][j] + 1, row[j - 1] + 1, rows[-1][j - 1] + (letter != target))
            if i > 1 and j > 1 and (letter, word[i - 2]) == (other[j - 2], target):
                least = min(least, rows[-2][j - 2] + 1)
            row.append(least)
        rows.append(row)
    return rows[-1][-1]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean "x"?' or an empty string."""
    match = nearest(name, known)
    return f' Did you mean "{match}"?' if match else ""


def listed(names: Iterable[Any]) -> str:
    """'a, b, c', or 'none'."""
    return ", ".join(str(n) for n in names) or "none"


def a_type(value: Any) -> str:
    """The type of a value, with its article: 'a list', 'an int', 'nothing' for None."""
    name = "nothing" if value is None else type(value).__name__
    return name if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def root_cause(error: BaseException) -> BaseException:
    """The exception at the bottom of the chain: libraries wrap the import errors of others."""
    while below := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = below
    return error


def one_line(error: BaseException) -> str:
    """'ImportError: no module named x', cut to one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
