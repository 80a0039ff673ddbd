"""The options of a question, as the lines below it: "A. ..."."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.texts import is_blank, shortened

_NAMES = ("label", "key", "letter", "id")
_TEXTS = ("text", "value", "option", "content")
_MARK = re.compile(r"\s*\(?[A-Za-z0-9]{1,2}[.):]\s")
_LETTERED = re.compile(
    r"(?P<kind>(?:option|choice|opt|op)[_ ]?)?(?P<letter>[A-Fa-f]|(?<=.)[0-6])$", re.IGNORECASE
)


def is_options(value: Any) -> bool:
    """Whether a cell holds options that can be read."""
    try:
        return len(read_options(value, "")) > 1
    except RowProblem:
        return False


def read_options(value: Any, column: str) -> list[tuple[str, str]]:
    """(letter, text) of each option; none where the cell is empty.

    Options are a list of texts, a dict of letter -> text, two lists ``{"text": [...], "label": [...]}``, or a list of
    dicts with both; or a JSON text of any of these.

    Raises:
        RowProblem: they are something else.
    """
    if is_blank(value):
        return []
    if isinstance(value, str):
        value = _decoded(value, column)
    if isinstance(value, Mapping):
        texts = next((value[key] for key in _TEXTS if isinstance(value.get(key), list | tuple)), None)
        if texts is None:
            pairs = [(str(letter), text) for letter, text in value.items() if text is not None]
        else:
            names = next((value[key] for key in _NAMES if isinstance(value.get(key), list | tuple)), None)
            letters = _letters(texts, column) if names is None else [str(name) for name in names]
            if len(letters) != len(texts):
                raise RowProblem(column, f"{len(texts)} options, but {len(letters)} letters for them")
            pairs = list(zip(letters, texts, strict=True))
    elif isinstance(value, list | tuple):
        pairs = [_named(item, letter) for item, letter in zip(value, _letters(value, column), strict=True)]
    else:
        raise _no_options(value, column)
    for _, text in pairs:
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise _no_options(text, column)
    return [(letter, str(text)) for letter, text in pairs]


def lettered(columns: Iterable[str]) -> list[str]:
    """Columns that hold one option each: A, B, C, D; option_a, option_b; choice1, choice2. There are two or none."""
    groups: dict[str, list[str]] = {}
    for column in columns:
        match = _LETTERED.match(column.strip())
        if match and (match["kind"] or match["letter"].isupper()):
            groups.setdefault((match["kind"] or "").lower(), []).append(column)
    return (
        max(groups.values(), key=len, default=[]) if any(len(group) > 1 for group in groups.values()) else []
    )


def below(question: str, options: Sequence[tuple[str, str]]) -> str:
    """A question with its options below it, unless it holds all of them already."""
    if not options or all(text.strip() in question for _, text in options):
        return question
    marked = all(_MARK.match(text) for _, text in options)
    lines = [text if marked else f"{letter}. {text}" for letter, text in options]
    return f"{question}\n\n" + "\n".join(lines)


def _named(item: Any, letter: str) -> tuple[str, Any]:
    if not isinstance(item, Mapping):
        return letter, item
    text = next((item[key] for key in _TEXTS if key in item), item)
    return str(next((item[key] for key in _NAMES if key in item), letter)), text


def _letters(items: Sequence[Any], column: str) -> Sequence[str]:
    if len(items) > len(ascii_uppercase):
        raise RowProblem(column, f"{len(items)} options, more than there are letters")
    return list(ascii_uppercase[: len(items)])


def _decoded(text: str, column: str) -> Any:
    """A JSON text, or a list or dict as Python prints it in CSV; else one option a line."""
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, list | dict):
            return value
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return lines
    raise _no_options(text, column)


def _no_options(value: Any, column: str) -> RowProblem:
    return RowProblem(
        column,
        f"{shortened(value)} is no list of options; a list of texts, or a dict of letter and text, was expected",
    )
