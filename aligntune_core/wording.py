"""Phrases for messages: names in a list, the nearest name, types with their article, errors on one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or None; case does not count. A name that begins with ``name`` comes first."""
    spelt = {k.lower(): k for k in known}
    longer = [k for k in spelt if len(name) >= 4 and k.startswith(name.lower())]
    if longer:
        return spelt[longer[0]]  # of several, callers list the usual one first
    matches = difflib.get_close_matches(name.lower(), list(spelt), n=1, cutoff=0.6)
    return spelt[matches[0]] if matches else None


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
