"""Recognising a data set: which format, and which column plays which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aligntune_core.data.formats.messages import is_dialogue, is_messages, starts_dialogue
from aligntune_core.data.recognise.kinds import typical_values
from aligntune_core.data.recognise.mapping import (
    ROLE_OF,
    ROLES,
    alike_column,
    direction,
    is_index,
    plain_name,
    shown,
)
from aligntune_core.data.recognise.nearest import missing_columns
from aligntune_core.errors import DataError
from aligntune_core.wording import did_you_mean, listed

# Names that reward functions are called with anyway; a column of that name would be passed twice.
RESERVED = frozenset(
    {"prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state"}
    # TRL takes a row for a conversation by the first of these it meets, whatever the prompt is.
    | {"chosen", "rejected", "messages"}
)


@dataclass(frozen=True)
class Layout:
    """One way to lay out a data set: the roles it needs and those it may have."""

    kind: str
    needs: tuple[str, ...]
    may: tuple[str, ...] = ()


_CONTEXT = ("input", "system")
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "sft": (
        Layout("messages", ("messages",), ("system",)),
        Layout("pair", ("prompt", "completion"), _CONTEXT),
        Layout("text", ("text",)),
    ),
    "preference": (
        Layout("preference", ("prompt", "chosen", "rejected"), _CONTEXT),
        Layout("dialogues", ("chosen", "rejected"), ("system",)),
    ),
    "online": (
        Layout("prompt", ("prompt",), _CONTEXT),
        Layout("prompt_messages", ("messages",), ("system",)),
        Layout("prompt_shared", ("chosen", "rejected"), ("system",)),
        Layout("prompt_text", ("text",), ("system",)),
    ),
}


@dataclass(frozen=True)
class Shape:
    """A recognised data set.

    Attributes:
        family: "sft", "preference" or "online".
        kind: the ``Layout``'s kind.
        name: the format's name for people.
        slots: role -> column.
        extras: name to carry a column under -> that column (online algorithms, and columns an algorithm asks for).
        dialogue: whether texts are dialogues with Human and Assistant marks.
        saw: sentences.
    """

    family: str
    kind: str
    name: str
    slots: Mapping[str, str]
    extras: Mapping[str, str] = field(default_factory=dict)
    dialogue: bool = False
    saw: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that conversion reads."""
        return tuple(dict.fromkeys(self.slots.values()))


def family_of(algorithm: Any) -> str:
    """Which family of formats an algorithm's rows belong to."""
    if "preference" in algorithm.formats:
        return "preference"
    return "sft" if algorithm.supervised else "online"


CANONICAL = {
    "sft": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected"),
    "online": ("prompt",),
}


def columns_of(algorithm: Any) -> tuple[str, ...]:
    """The canonical columns of an algorithm's rows."""
    return CANONICAL[family_of(algorithm)]


def detect(
    columns: Sequence[str],
    sample: Sequence[Mapping[str, Any]],
    algorithm: Any,
    origin: str,
    column_mapping: Mapping[str, str] | None = None,
    text_column: str | None = None,
) -> Shape:
    """Recognise the format of a data set.

    Args:
        columns: its columns.
        sample: some of its rows; most of them tell text from messages, so that a bad one decides nothing.
        algorithm: whose data it should be.
        origin: the data set in messages.
        column_mapping: as the user gave it.
        text_column: the column of plain text, where the user named one.

    Raises:
        DataError: needed columns are not there; says what was found and which mapping would do.
    """
    family = family_of(algorithm)
    mapped = _mapped(columns, family, origin, column_mapping, text_column)
    first = typical_values(sample, columns)
    layout, slots = _recognised(columns, mapped, first, LAYOUTS[family])
    if layout is None:
        needs = [choice.needs for choice in LAYOUTS[family]]
        mapping_given = bool(column_mapping)
        raise DataError(
            missing_columns(columns, first, algorithm.name, family, needs, origin, slots, mapping_given)
        )
    used = {role: slots[role] for role in (*layout.needs, *layout.may) if role in slots}
    dialogue = _holds_dialogues(used, first)
    _need_prompt(used, first, dialogue, algorithm, origin, columns)
    extras = _extras(columns, mapped, algorithm, family, used, origin)
    name = _name(layout, used, first, dialogue)
    said = _sentences(name, used, columns, extras, family)
    return Shape(family, layout.kind, name, used, extras, dialogue, said)


def _mapped(
    columns: Sequence[str],
    family: str,
    origin: str,
    column_mapping: Mapping[str, str] | None,
    text_column: str | None,
) -> dict[str, str]:
    """Column -> role name, from ``column_mapping`` and ``text_column``."""
    mapped = direction(column_mapping, columns, origin, family == "online") if column_mapping else {}
    if not text_column or text_column in mapped:
        return mapped
    if text_column not in columns:
        hint = did_you_mean(text_column, columns)
        raise DataError(
            f'{origin} has no column "{text_column}" (text_column).{hint} Its columns: {shown(columns)}.'
        )
    return {**mapped, text_column: "text"} if family == "sft" else mapped


def _need_prompt(
    used: Mapping[str, str],
    first: Mapping[str, Any],
    dialogue: bool,
    algorithm: Any,
    origin: str,
    columns: Sequence[str],
) -> None:
    """Raise for two plain texts, which do not say where their prompt ends."""
    if dialogue or "prompt" in used or "chosen" not in used or not isinstance(first.get(used["chosen"]), str):
        return
    raise DataError(
        f'{origin}: "chosen" and "rejected" are plain texts without a prompt. {algorithm.name} needs a column "prompt" '
        f'beside them, or whole dialogues ("\\n\\nHuman: ...\\n\\nAssistant: ..."). Columns: {shown(columns)}.'
    )


def _recognised(
    columns: Sequence[str], mapped: Mapping[str, str], first: Mapping[str, Any], layouts: Sequence[Layout]
) -> tuple[Layout | None, dict[str, str]]:
    """The layout and role -> column: by exact names, and only where those do not do by names like them."""
    asked = {ROLE_OF[name] for name in mapped.values() if name in ROLE_OF}
    exact = _slots(columns, mapped, first, exact=True)
    alike = _slots(columns, mapped, first, exact=False)
    layout = _choose(layouts, exact, asked)
    if layout is None:
        return _choose(layouts, alike, asked), alike
    may = {role: alike[role] for role in layout.may if role in alike and alike[role] not in exact.values()}
    return layout, {**may, **exact}


def _slots(
    columns: Sequence[str], mapped: Mapping[str, str], first: Mapping[str, Any], exact: bool
) -> dict[str, str]:
    """Role -> column: what the user mapped, then what the names say."""
    slots = {ROLE_OF[name]: column for column, name in mapped.items() if name in ROLE_OF}
    free = [column for column in columns if column not in mapped]
    for role, names in ROLES.items():
        if role in slots:
            continue
        found = next((name for name in names if name in free), None)
        if found is None and not exact:
            found = next((column for name in names if (column := alike_column(name, free)) is not None), None)
        if found is not None:
            slots[role] = found
    if "prompt" not in slots and "input" in slots:
        slots["prompt"] = slots.pop("input")
    if "text" in slots and is_messages(first.get(slots["text"])) and "messages" not in slots:
        slots["messages"] = slots.pop("text")
    return slots


def _choose(layouts: Sequence[Layout], slots: Mapping[str, str], asked: set[str]) -> Layout | None:
    """The first layout whose needs are there; one that uses more of the mapped roles goes first."""
    able = [layout for layout in layouts if all(role in slots for role in layout.needs)]
    return max(able, key=lambda layout: len(asked & {*layout.needs, *layout.may}), default=None)


def _holds_dialogues(used: Mapping[str, str], first: Mapping[str, Any]) -> bool:
    chosen = first.get(used["chosen"]) if "chosen" in used else None
    if "prompt" not in used:
        return is_dialogue(chosen)
    return is_dialogue(first.get(used["prompt"])) or (is_dialogue(chosen) and starts_dialogue(chosen))


def _extras(
    columns: Sequence[str],
    mapped: Mapping[str, str],
    algorithm: Any,
    family: str,
    used: Mapping[str, str],
    origin: str,
) -> dict[str, str]:
    """Columns carried along: all for online algorithms (rewards read them), else those the algorithm asks for."""
    if family == "online":
        extras = {column: column for column in columns if column not in RESERVED and not is_index(column)}
        for column, name in mapped.items():
            if ROLE_OF.get(name) not in ("prompt", "messages", "system", "input") and name not in RESERVED:
                extras.setdefault(name, column)
        return extras
    extras = {}
    for name in columns_of(algorithm):
        if name in (*used, "prompt", "completion", "chosen", "rejected"):
            continue
        given = next((c for c, role in mapped.items() if role == name), None)
        found = given or alike_column(name, columns)
        if found is None:
            raise DataError(f'{origin}: {algorithm.name} needs a column "{name}". Columns: {shown(columns)}.')
        extras[name] = found
    return extras


def _name(layout: Layout, used: Mapping[str, str], first: Mapping[str, Any], dialogue: bool) -> str:
    if layout.kind in ("messages", "prompt_messages"):
        value: Any = first.get(used["messages"])
        sharegpt = is_messages(value) and value[0].get("role") is None and value[0].get("from") is not None
        return "sharegpt" if sharegpt else "messages"
    if layout.kind == "pair":
        pair = (plain_name(used["prompt"]), plain_name(used["completion"]))
        if pair == ("instruction", "output"):
            return "alpaca"
        text = "/".join(pair)
        return f"{text} (messages)" if is_messages(first.get(used["prompt"])) else text
    if "chosen" in used:
        if dialogue:
            return "hh-rlhf"
        if not is_messages(first.get(used["chosen"])):
            return "prompt/chosen/rejected"
        if "prompt" in used and isinstance(first.get(used["prompt"]), str):
            return "ultrafeedback"
        return "prompt/chosen/rejected (messages)" if "prompt" in used else "chosen/rejected (messages)"
    return "text" if layout.kind == "text" else "prompt only"


def _sentences(
    name: str, used: Mapping[str, str], columns: Sequence[str], extras: Mapping[str, str], family: str
) -> tuple[str, ...]:
    roles = ", ".join(role if role == column else f'{role} from "{column}"' for role, column in used.items())
    sentences = [f"Format {name}: {roles}."]
    rest = [c for c in columns if c not in used.values() and c not in extras.values()]
    overlooked = [c for role, c in used.items() if plain_name(c) in ROLES[role] and c not in ROLES[role]]
    if overlooked:
        names = listed(f'"{column}"' for column in overlooked)
        sentences.append(f"Capitals and blanks in the names of columns were overlooked: {names}.")
    if family == "online" and extras:
        sentences.append(f"Carried along for rewards: {shown(extras)}.")
    if rest:
        sentences.append(f"Not used: {shown(rest)}.")
    return tuple(sentences)
