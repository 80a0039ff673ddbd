"""Recognising a data set: which format, and which column plays which role."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aligntune_core.algorithms.catalogue import own
from aligntune_core.data.columns import ROLE_OF, ROLES, alike_column, direction, is_index, plain_name, shown
from aligntune_core.data.conversations import is_dialogue, is_messages, parsed, starts_dialogue
from aligntune_core.data.formats import formats_of
from aligntune_core.data.formats.base import Format, Roles, Shape
from aligntune_core.errors import DataError
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm

# Names that reward functions are called with anyway; a column of that name would be passed twice.
RESERVED = frozenset(
    {"prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state"}
    # TRL takes a row for a conversation by the first of these it meets, whatever the prompt is.
    | {"chosen", "rejected", "messages"}
)

# Where the user gave a column one of these roles, it is the prompt, or part of it.
_PROMPT_ROLES = ("prompt", "messages", "system", "input")

# Between kinds of values that are equally frequent, the one with more structure: text among messages is the bad row.
_KINDS = ("messages", "dialogue", "text", "other")

# How much a column must look like a role to be suggested for it, 0 to 1.
_CUTOFF = 0.6

Layout = tuple[Format, Roles]


def mapping_of(
    column_mapping: Mapping[str, str] | None, columns: Sequence[str], algorithm: Algorithm, origin: str
) -> dict[str, str]:
    """``column_mapping`` as column -> role name; see ``direction``."""
    if not column_mapping:
        return {}
    formats = formats_of(algorithm)
    roles = {role for entry in formats for way in entry.roles for role in (*way.needs, *way.may)}
    role_of = {**ROLE_OF, **{role: role for role in sorted(roles - ROLES.keys())}}
    return direction(column_mapping, columns, origin, any(entry.carries for entry in formats), role_of)


def detect(
    columns: Sequence[str],
    sample: Sequence[Mapping[str, Any]],
    algorithm: Algorithm,
    origin: str,
    column_mapping: Mapping[str, str] | None = None,
    text_column: str | None = None,
) -> Shape:
    """Recognise the format of a data set: the first of the algorithm's that fits.

    Most rows of the ``sample`` tell text from messages, so that a bad one decides nothing.

    Raises:
        DataError: needed columns are not there; says what was found and which mapping would do.
    """
    layouts = [(entry, roles) for entry in formats_of(algorithm) for roles in entry.roles]
    mapped = mapping_of(column_mapping, columns, algorithm, origin)
    if text_column and text_column not in columns:
        hint = did_you_mean(text_column, columns)
        raise DataError(
            f'{origin} has no column "{text_column}" (text_column).{hint} Its columns: {shown(columns)}.'
        )
    if text_column and algorithm.supervised:
        mapped = {**mapped, text_column: mapped.get(text_column, "text")}
    typical = {column: _typical([row.get(column) for row in sample]) for column in columns}
    layout, slots = _recognised(columns, mapped, typical, layouts)
    if layout is None:
        raise DataError(
            _missing_columns(columns, typical, algorithm, layouts, origin, slots, bool(column_mapping))
        )
    entry, roles = layout
    used = {role: slots[role] for role in (*roles.needs, *roles.may) if role in slots}
    shape = Shape(
        format=entry,
        origin=origin,
        algorithm=algorithm.name,
        columns=tuple(columns),
        slots=used,
        sample=typical,
        extras=_carried(columns, mapped) if entry.carries else {},
        dialogue=_holds_dialogues(used, typical),
    )
    shape = replace(shape, name=entry.recognise(shape))
    return replace(shape, saw=_sentences(shape))


def _recognised(
    columns: Sequence[str], mapped: Mapping[str, str], typical: Mapping[str, Any], layouts: Sequence[Layout]
) -> tuple[Layout | None, dict[str, str]]:
    """The layout and role -> column: by exact names, and only where those do not do by names like them."""
    own_roles = {role for _, roles in layouts for role in (*roles.needs, *roles.may)} - ROLES.keys()
    names = {**ROLES, **{role: (role,) for role in sorted(own_roles)}}
    mapped_roles = {ROLE_OF.get(name, name) for name in mapped.values()}
    exact = _slots(columns, mapped, typical, names, exact=True)
    alike = _slots(columns, mapped, typical, names, exact=False)
    layout = _choose(layouts, exact, mapped_roles)
    if layout is None:
        return _choose(layouts, alike, mapped_roles), alike
    optional = layout[1].may
    may = {role: alike[role] for role in optional if role in alike and alike[role] not in exact.values()}
    return layout, {**may, **exact}


def _slots(
    columns: Sequence[str],
    mapped: Mapping[str, str],
    typical: Mapping[str, Any],
    roles: Mapping[str, tuple[str, ...]],
    exact: bool,
) -> dict[str, str]:
    """Role -> column: what the user mapped, then what the names say."""
    slots = {ROLE_OF.get(name, name): column for column, name in mapped.items()}
    slots = {role: column for role, column in slots.items() if role in roles}
    free = [column for column in columns if column not in mapped]
    for role, names in roles.items():
        if role in slots:
            continue
        column = next((name for name in names if name in free), None)
        if column is None and not exact:
            column = next((near for name in names if (near := alike_column(name, free)) is not None), None)
        if column is not None:
            slots[role] = column
    if "prompt" not in slots and "input" in slots:
        slots["prompt"] = slots.pop("input")
    if "text" in slots and is_messages(typical.get(slots["text"])) and "messages" not in slots:
        slots["messages"] = slots.pop("text")
    return slots


def _choose(layouts: Sequence[Layout], slots: Mapping[str, str], mapped: set[str]) -> Layout | None:
    """The first layout whose needs are there; one that uses more of the mapped roles goes first."""
    able = [layout for layout in layouts if all(role in slots for role in layout[1].needs)]
    return max(able, key=lambda layout: len(mapped & {*layout[1].needs, *layout[1].may}), default=None)


def _holds_dialogues(slots: Mapping[str, str], typical: Mapping[str, Any]) -> bool:
    chosen = typical.get(slots["chosen"]) if "chosen" in slots else None
    if "prompt" not in slots:
        return is_dialogue(chosen)
    return is_dialogue(typical.get(slots["prompt"])) or (is_dialogue(chosen) and starts_dialogue(chosen))


def _carried(columns: Sequence[str], mapped: Mapping[str, str]) -> dict[str, str]:
    """Name -> column of all columns but those that would be passed twice, and under the names they were mapped to."""
    extras = {column: column for column in columns if column not in RESERVED and not is_index(column)}
    for column, name in mapped.items():
        if ROLE_OF.get(name) not in _PROMPT_ROLES and name not in RESERVED:
            extras.setdefault(name, column)
    return extras


def _sentences(shape: Shape) -> tuple[str, ...]:
    slots, extras = shape.slots, shape.extras
    roles = ", ".join(role if role == column else f'{role} from "{column}"' for role, column in slots.items())
    sentences = [f"Format {shape.name}: {roles}."]
    overlooked = [
        f'"{column}"'
        for role, column in slots.items()
        if column not in ROLES.get(role, (role,)) and plain_name(column) in ROLES.get(role, (role,))
    ]
    if overlooked:
        sentences.append(
            f"Capitals and blanks in the names of columns were overlooked: {listed(overlooked)}."
        )
    if extras:
        sentences.append(f"Carried along for rewards: {shown(extras)}.")
    return tuple(sentences)


def _typical(values: Sequence[Any]) -> Any:
    """One value that stands for most of a column, the empty ones aside: the first of its most frequent kind."""
    first: dict[str, Any] = {}
    counts = dict.fromkeys(_KINDS, 0)
    for given in values:
        if given is None or given == "" or given == []:
            continue
        value = parsed(given)
        kind = _kind(value)
        first.setdefault(kind, value)
        counts[kind] += 1
    return first.get(max(_KINDS, key=counts.__getitem__))


def _kind(value: Any) -> str:
    if is_messages(value):
        return "messages"
    if is_dialogue(value):
        return "dialogue"
    return "text" if isinstance(value, str) else "other"


def _missing_columns(
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
    elif "preference" in formats and "completion" in slots:
        lines.append(
            f"This looks like data for {_taker('pair')}: {algorithm.name} needs a better and a worse answer to each "
            "prompt."
        )
    if suggestion:
        new = {column: role for column, role in suggestion.items() if column not in slots.values()}
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
    for role in needs:
        if role in slots:
            continue
        free = [column for column in columns if column not in suggestion and not is_index(column)]
        likeness = {column: _likeness(column, typical.get(column), role) for column in free}
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
    names = ROLES.get(role, (role,))
    if any(known in words for known in names):
        return 0.95
    if role == "completion" and name == "chosen":
        return _CUTOFF
    near = max(difflib.SequenceMatcher(None, known, name).ratio() for known in names)
    short = len(name) > 2 and any(known.startswith(name) for known in names)
    return max(near, 0.7 if short else 0.0, _CUTOFF if role == "messages" and is_messages(value) else 0.0)
