"""Columns that nobody reads, and those among them without which something else would be learnt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from aligntune_core.data.columns import plain_name, shown
from aligntune_core.data.formats.base import Row, Shape
from aligntune_core.errors import DataError

_MEDIA = "pictures, sound and video do not reach the model, so it would answer to what it cannot see"
_TOOLS = "the model would not know the tools that its replies speak of"
_TURNS = "earlier turns would be missing from the prompt"
_WEIGHTS = "the loss would be on everything alike"
_OPTIONS = "the options of the question would be missing from the prompt"
_REASONING = "the reasoning before the answer would not be learnt"
_CALLS = "the calls of tools would not be learnt"
_CONTEXT = "part of the prompt would be missing"
_LABEL = "completions that are marked as bad would be learnt like good ones"
_MARGIN = "the distance between the two answers would not be learnt"

# Plain name of a column -> what is learnt otherwise where it is left out.
TELLING: Mapping[str, str] = {
    **dict.fromkeys(
        ("image", "images", "image_path", "image_paths", "pixel_values", "video", "videos", "audio", "audios"),
        _MEDIA,
    ),
    **dict.fromkeys(("tools", "functions", "tool_definitions"), _TOOLS),
    **dict.fromkeys(("history", "chat_history"), _TURNS),
    **dict.fromkeys(("weight", "weights", "loss_weight", "loss_mask", "train"), _WEIGHTS),
    **dict.fromkeys(("options", "choices"), _OPTIONS),
    **dict.fromkeys(("reasoning_content", "reasoning", "thinking", "thoughts"), _REASONING),
    **dict.fromkeys(("cot", "chain_of_thought", "complex_cot", "rationale"), _REASONING),
    **dict.fromkeys(("function_call", "tool_calls", "function_calls"), _CALLS),
    **dict.fromkeys(("context", "input", "system", "system_prompt"), _CONTEXT),
    **dict.fromkeys(("label", "labels", "kto_tag"), _LABEL),
    "margin": _MARGIN,
}  # fmt: skip
_CARRIED = frozenset((_MEDIA, _TOOLS, _TURNS))  # what a reward that reads the column does not make good
_TRUTHS = frozenset(("true", "false", "0", "1", "yes", "no", "0.0", "1.0"))

Policy = str | list[str]
"""``data.unused_columns``: "warn", "ignore", "error", or the columns to ignore."""


def unused(shape: Shape) -> list[str]:
    """The columns that neither the format nor a reward reads."""
    taken = {*shape.slots.values(), *shape.extras.values()}
    return [column for column in shape.columns if column not in taken]


def without_named(shape: Shape, policy: Policy) -> Shape:
    """The shape without the carried columns that ``policy`` names; those that it reads were left aside before."""
    named = set(policy) if isinstance(policy, list) else set()
    return replace(shape, extras={n: c for n, c in shape.extras.items() if c not in named})


def refuse_telling(shape: Shape, rows: Iterable[Row], policy: Policy) -> None:
    """Raise for unused columns that would change what is learnt, and with "error" for any.

    Args:
        shape: the data set as it was recognised.
        rows: its rows, with all columns; read until a value is there for each column in question.
        policy: what the user wants of unused columns.

    Raises:
        DataError: names the column, what would be lost, and what settles it.
    """
    if policy == "ignore":
        return
    ignored = set(policy) if isinstance(policy, list) else set()
    rest = [column for column in unused(shape) if column not in ignored]
    if policy == "error" and rest:
        raise DataError(
            f'{shape.origin}: unused columns: {shown(rest)} (unused_columns="error"). Give them roles with '
            "column_mapping, or name them in unused_columns to leave them out."
        )
    settled = {*ignored, *shape.slots.values()}
    carried = [c for c in shape.extras.values() if _meaning(c) in _CARRIED and c not in settled]
    doubtful = {column for column in (*rest, *carried) if _meaning(column)}
    if not doubtful:
        return
    for row in rows:
        for column in doubtful:
            if _says_something(column, row.get(column)):
                raise DataError(
                    f'{shape.origin}: column "{column}" would be left out, and {_meaning(column)}. Say what it is with '
                    f'column_mapping, or leave it out with unused_columns=["{column}"].'
                )


def refuse_keys(origin: str, keys: Iterable[str], policy: Policy) -> None:
    """Raise DataError for keys of messages that nobody reads, where the user wants none."""
    if keys and policy == "error":
        raise DataError(
            f'{origin}: unused keys of messages: {shown(keys)} (unused_columns="error"). Take them out of the messages.'
        )


def _meaning(column: str) -> str:
    return TELLING.get(plain_name(column).rpartition(".")[2], "")


def _says_something(column: str, value: Any) -> bool:
    """Whether a cell holds what would be lost: a label only where it is a truth value."""
    if _meaning(column) == _LABEL:
        return str(value).strip().lower() in _TRUTHS
    if isinstance(value, str):
        return value.strip() not in ("", "[]", "{}", "null")
    return value is not None and (not hasattr(value, "__len__") or len(value) > 0)
