"""The message for columns that are not there: what was found, what is needed, and the mapping that would likely do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core.data.formats.messages import is_messages
from aligntune_core.data.recognise.mapping import ROLES, is_index, plain_name, shown

_WANTED = {
    "sft": "messages; or prompt and completion; or instruction and output (input); or question and answer; or text",
    "preference": "prompt, chosen and rejected; or chosen and rejected as whole dialogues or message lists",
    "online": "prompt; or question, instruction, messages",
}
_CUTOFF = 0.6


def missing_columns(
    columns: Sequence[str],
    first: Mapping[str, Any],
    algorithm: str,
    family: str,
    layouts: Sequence[tuple[str, ...]],
    origin: str,
    slots: Mapping[str, str],
    mapping_given: bool,
) -> str:
    """What to say where no layout fits.

    Args:
        columns: those found.
        first: column -> a typical value.
        algorithm: its name.
        family: of its formats.
        layouts: the roles that each layout of the family needs.
        origin: the data set in messages.
        slots: role -> column, as far as known.
        mapping_given: whether there is a ``column_mapping`` already.
    """
    found = [(needs, _suggest(columns, first, needs, slots)) for needs in layouts]
    usual = next((needs for needs in layouts if len(needs) > 1 or family == "online"), layouts[0])
    needs, (suggestion, _) = max(found, key=lambda item: (bool(item[1][0]), item[1][1]))
    if not suggestion:
        needs = usual
    missing = [role for role in needs if role not in slots]
    lines = [
        f"{origin}: no column for {' and '.join(missing)}. Found: {shown(columns)}. "
        f"{algorithm} needs {_WANTED[family]}."
    ]
    if family == "sft" and "chosen" in columns:
        lines.append("This looks like preference data, which dpo takes.")
    elif family == "preference" and "completion" in slots:
        lines.append(
            f"This looks like data for sft: {algorithm} needs a better and a worse answer to each prompt."
        )
    if suggestion:
        known = slots.values()
        nearest = "; ".join(
            f'"{column}" for {role}' for column, role in suggestion.items() if column not in known
        )
        lines.append(f"Nearest: {nearest}. Try column_mapping={suggestion}.")
    elif not mapping_given:
        lines.append(f'Name them with column_mapping={{"your column": "{missing[0]}"}}.')
    return " ".join(lines)


def _suggest(
    columns: Sequence[str], first: Mapping[str, Any], needs: Sequence[str], slots: Mapping[str, str]
) -> tuple[dict[str, str], tuple[int, float]]:
    """Column -> role for every needed role, and how good that is: roles known already, then the poorest likeness."""
    suggestion = {slots[role]: role for role in needs if role in slots}
    known, poorest = len(suggestion), 1.0
    for role in needs:
        if role in slots:
            continue
        free = [column for column in columns if column not in suggestion and not is_index(column)]
        likeness = {column: _likeness(column, first.get(column), role) for column in free}
        best = max(free, key=likeness.__getitem__, default=None)
        if best is None or likeness[best] < _CUTOFF:
            return {}, (0, 0.0)
        suggestion[best] = role
        poorest = min(poorest, likeness[best])
    return suggestion, (known, poorest)


def _likeness(column: str, value: Any, role: str) -> float:
    """How much a column looks like a role, 0 to 1: by its name, and lists of messages by what they are."""
    if role == "text" and is_messages(value):
        return 0.0
    name = plain_name(column)
    words = re.split(r"[^a-z]+", name)
    if any(known in words for known in ROLES[role]):
        return 0.95
    if role == "completion" and name == "chosen":
        return _CUTOFF
    near = max(difflib.SequenceMatcher(None, known, name).ratio() for known in ROLES[role])
    short = len(name) > 2 and any(known.startswith(name) for known in ROLES[role])
    return max(near, 0.7 if short else 0.0, _CUTOFF if role == "messages" and is_messages(value) else 0.0)
