"""Recognising a data set: which format, and which column plays which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aligntune_core.data.columns import ROLE_OF, ROLES, alike_column, direction, is_index, plain_name, shown
from aligntune_core.data.conversations import is_dialogue, is_messages, parsed, starts_dialogue
from aligntune_core.data.formats import formats_of
from aligntune_core.data.formats.base import Format, Roles, Shape
from aligntune_core.data.hints import missing_columns
from aligntune_core.data.nested import parent_of
from aligntune_core.data.options import is_options, lettered
from aligntune_core.data.texts import is_blank
from aligntune_core.errors import DataError
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm

# Names that reward functions are called with anyway; a column of that name would be passed twice.
RESERVED = frozenset(
    {"prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state"}
    # TRL takes a row for a conversation by the first of these it meets, whatever the prompt is.
    | {"chosen", "rejected", "messages"}
    # It also shows the model what stands in these, though its prompt has no place for a picture.
    | {"image", "images"}
)

# Where the user gave a column one of these roles, it is the prompt, or part of it.
_PROMPT_ROLES = ("prompt", "messages", "system", "input", "context", "options", "history", "tools")

# Roles that a key inside an object may play by its own name.
_INSIDE = ("messages", "tools", "system")

# Between kinds of values that are equally frequent, the one with more structure: text among messages is the bad row.
_KINDS = ("messages", "dialogue", "text", "other")

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
    unused: str | Sequence[str] = "warn",
) -> Shape:
    """Recognise the format of a data set: the first of the algorithm's that fits.

    Most rows of the ``sample`` tell text from messages, so that a bad one decides nothing.

    Args:
        columns: names of all columns.
        sample: the first rows.
        algorithm: which formats it takes.
        origin: the data set in messages.
        column_mapping: in either direction.
        text_column: the column of plain text.
        unused: ``data.unused_columns``; a list names columns that play no role, whatever they are called.

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
    left_out = () if isinstance(unused, str) else unused
    usable = [column for column in columns if column not in left_out or column in mapped]
    layout, slots = _recognised(usable, mapped, typical, layouts)
    if layout is None:
        raise DataError(
            missing_columns(usable, typical, algorithm, layouts, origin, slots, bool(column_mapping))
        )
    entry, roles = layout
    used = {role: slots[role] for role in (*roles.needs, *roles.may) if role in slots}
    opened = _opened(columns)
    shape = Shape(
        format=entry,
        origin=origin,
        algorithm=algorithm.name,
        columns=tuple(column for column in columns if column not in opened or entry.carries),
        slots=used,
        settled=frozenset((*mapped, *(columns if unused == "ignore" else left_out))),
        sample=typical,
        extras=_carried(columns, mapped) if entry.carries else {},
        dialogue=_holds_dialogues(used, typical),
    )
    if "options" in roles.may:
        _refuse_lettered(shape)
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
    opened = _opened(columns)
    free = [column for column in columns if column not in mapped and column not in opened]
    for role, names in roles.items():
        if role in slots:
            continue
        column = next((name for name in names if name in free), None)
        if column is None and not exact:
            column = next((near for name in names if (near := alike_column(name, free)) is not None), None)
        if column is None and role in _INSIDE and opened:
            column = next((c for c in free if parent_of(c, opened) and c.rpartition(".")[2] in names), None)
        if column is not None:
            slots[role] = column
    _settle(slots, mapped, typical)
    return slots


def _settle(slots: dict[str, str], mapped: Mapping[str, str], typical: Mapping[str, Any]) -> None:
    """What depends on the other roles, or on what a column holds."""
    if "prompt" not in slots:
        more = next((role for role in ("input", "context") if role in slots), None)
        if more is not None:
            slots["prompt"] = slots.pop(more)
    if "text" in slots and is_messages(typical.get(slots["text"])) and "messages" not in slots:
        slots["messages"] = slots.pop("text")
    # The answer beside a problem's solution is its last line.
    solution = next((column for column in typical if plain_name(column) == "solution"), "")
    free = not {solution, slots.get("completion")} & mapped.keys()
    if free and plain_name(slots.get("prompt", "")) == "problem" and isinstance(typical.get(solution), str):
        slots["completion"] = solution
    options = slots.get("options")
    if options and options not in mapped and not is_options(typical.get(options)):
        del slots["options"]


def _refuse_lettered(shape: Shape) -> None:
    """Raise where the options of a question stand in a column each, and not in the prompt."""
    columns = [column for column in lettered(shape.columns) if shape.sample.get(column) is not None]
    open_ones = [c for c in columns if c not in shape.settled and c not in shape.slots.values()]
    prompt = shape.value("prompt")
    if "options" in shape.slots or len(open_ones) < 2 or not isinstance(prompt, str):
        return
    if any(str(shape.sample[column]) not in prompt for column in open_ones):
        raise DataError(
            f'{shape.origin}: the columns {shown(open_ones)} look like the options of "{shape.slots["prompt"]}", and '
            'would be missing from the prompt. Put them into one column, options ({"A": ..., "B": ...}), or leave them '
            f"out with unused_columns={open_ones}."
        )


def _opened(columns: Sequence[str]) -> set[str]:
    """The columns whose objects are read under dotted names."""
    return {parent for column in columns if "." in column and (parent := parent_of(column, columns))}


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
    extras = {
        column: column
        for column in columns
        if column not in RESERVED
        and not is_index(column)
        and not ("." in column and parent_of(column, columns))
    }
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
        if is_blank(given):
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
