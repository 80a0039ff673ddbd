"""What to say where no layout fits: what is there, what is needed, and the mapping that would likely do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aligntune_core.algorithms.catalogue import own
from aligntune_core.data.columns import ROLES, is_index, plain_name, shown
from aligntune_core.data.conversations import is_message, is_messages
from aligntune_core.data.formats.base import Format, Roles
from aligntune_core.data.pairs import is_pair

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm

Layout = tuple[Format, Roles]

# How much a column must look like a role to be suggested for it, 0 to 1.
_CUTOFF = 0.6

_TEXTS_OR_MESSAGES = ("prompt", "completion", "chosen", "rejected")
_TEXTS = (*_TEXTS_OR_MESSAGES, "text", "input", "context", "system")
# Words in the name of a column that speaks of a text, and is not one: question_id, answer_type.
_ABOUT = (
    "id ids idx index uuid uid hash url urls uri link type kind category count num number len length tokens score "
    "scores rating rank date time timestamp lang language source start end version level difficulty"
)
_NO_TEXTS = frozenset(_ABOUT.split())
# Words that tell a role where the usual names are not there; as names of columns they may mean something else.
_ALSO: Mapping[str, frozenset[str]] = {
    "prompt": frozenset(("user", "human", "src", "document", "article", "dialogue")),
    "completion": frozenset(
        (
            "assistant",
            "bot",
            "gpt",
            "tgt",
            "target",
            "code",
            "sql",
            "cypher",
            "summary",
            "highlights",
            "translation",
        )
    ),
}
# Roles that say what a column is, where its name does; no other one is suggested for it.
_SETTLED = ("prompt", "input", "context", "completion", "messages", "system", "tools", "options", "history")


def missing_columns(
    columns: Sequence[str],
    typical: Mapping[str, Any],
    algorithm: Algorithm,
    layouts: Sequence[Layout],
    origin: str,
    slots: Mapping[str, str],
    mapping_given: bool,
) -> str:
    """What to say where no layout fits: what was found, what is needed, and the mapping that would likely do."""
    choices = [(roles.needs, _suggest(columns, typical, roles.needs, slots)) for _, roles in layouts]
    usual = (roles.needs for entry, roles in layouts if len(roles.needs) > 1 or entry.carries)
    needs, (suggestion, _) = max(choices, key=lambda choice: (bool(choice[1][0]), choice[1][1]))
    if not suggestion:
        needs = next(usual, choices[0][0])
    missing = [role for role in needs if role not in slots]
    formats = {entry.name: entry for entry, _ in layouts}
    wants = [entry.wants or "; or ".join(_joined(r.needs) for r in entry.roles) for entry in formats.values()]
    lines = [
        f"{origin}: no column for {' and '.join(missing)}. Found: {shown(columns)}. "
        f"{algorithm.name} needs {'; or '.join(wants)}."
    ]
    if algorithm.supervised and "chosen" in columns:
        lines.append(f"This looks like preference data, which {_taker('preference')} takes.")
    elif {"preference", "margins"} & formats.keys() and "completion" in slots:
        lines.append(
            f"This looks like data for {_taker('pair')}: {algorithm.name} needs a better and a worse answer to each "
            "prompt."
        )
    if suggestion:
        new = {column: role for column, role in suggestion.items() if slots.get(role) != column}
        nearest = "; ".join(f'"{column}" for {role}' for column, role in new.items())
        lines.append(f"Nearest: {nearest}. Try column_mapping={suggestion}.")
    elif not mapping_given:
        lines.append(f'Name them with column_mapping={{"your column": "{missing[0]}"}}.')
    return " ".join(lines)


def _joined(roles: Sequence[str]) -> str:
    return roles[0] if len(roles) == 1 else f"{', '.join(roles[:-1])} and {roles[-1]}"


def _taker(name: str) -> str:
    """The first algorithm that takes a format."""
    return next(algorithm.name for algorithm in own() if name in algorithm.formats)


def _suggest(
    columns: Sequence[str], typical: Mapping[str, Any], needs: Sequence[str], slots: Mapping[str, str]
) -> tuple[dict[str, str], tuple[int, float]]:
    """Column -> role for every needed role, and how good that is: roles known already, then the poorest likeness."""
    suggestion = {slots[role]: role for role in needs if role in slots}
    known, poorest = len(suggestion), 1.0
    settled = {slots[role] for role in _SETTLED if role in slots}
    for role in needs:
        if role in slots:
            continue
        taken = {*suggestion, *settled}
        free = [column for column in columns if column not in taken and not is_index(column)]
        likeness = {column: _likeness(column, typical.get(column), role) for column in free}
        best = max(free, key=likeness.__getitem__, default=None)
        # Of two columns that are equally like it (response_0, response_1), neither is.
        if best is None or likeness[best] < _CUTOFF or [*likeness.values()].count(likeness[best]) > 1:
            return {}, (0, 0.0)
        suggestion[best] = role
        poorest = min(poorest, likeness[best])
    return (suggestion, (known, poorest)) if len(suggestion) > known else ({}, (0, 0.0))


def _likeness(column: str, value: Any, role: str) -> float:
    """How much a column looks like a role, 0 to 1: by its name, where its values are of the role's kind."""
    name = plain_name(column)
    words = re.split(r"[^a-z]+", name)
    if not _fits(value, role) or (role in _TEXTS and not _NO_TEXTS.isdisjoint(words)):
        return 0.0
    names = ROLES.get(role, (role,))
    if role in ("chosen", "rejected"):
        names = names[:1]  # the others hold words of a completion
    if any(known in words for known in names):
        return 0.95
    if not _ALSO.get(role, frozenset()).isdisjoint(words):
        return 0.8
    if role == "completion" and name == "chosen":
        return _CUTOFF
    near = max(difflib.SequenceMatcher(None, known, name).ratio() for known in names)
    short = len(name) > 2 and any(known.startswith(name) for known in names)
    return max(near, 0.7 if short else 0.0, _CUTOFF if role == "messages" else 0.0)


def _fits(value: Any, role: str) -> bool:
    """Whether a typical value of a column is of the kind that a role takes."""
    conversation = is_messages(value) and (is_message(value[0]) or is_pair(value[0]))
    if role == "messages":
        return conversation
    if role == "label":
        return isinstance(value, bool) or str(value).strip().lower() in (
            "true",
            "false",
            "0",
            "1",
            "yes",
            "no",
        )
    if role in _TEXTS:
        return isinstance(value, str) or (conversation and role in _TEXTS_OR_MESSAGES)
    return value is not None
