"""Names of columns: the roles that they say, and those that ``column_mapping`` gives, read in either direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from aligntune_core.errors import DataError
from aligntune_core.wording import did_you_mean, listed, nearest

# Role -> names it goes by, the first the most telling. These serve as column names and in column_mapping.
ROLES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction", "question", "query", "problem"),
    "input": ("input",),
    "context": ("context",),
    "options": ("options", "choices"),
    "history": ("history",),
    "completion": ("completion", "response", "answer", "output", "solution"),
    "chosen": ("chosen", "chosen_response", "response_chosen", "preferred_output"),
    "rejected": (
        "rejected",
        "rejected_response",
        "response_rejected",
        "rejected_messages",
        "non_preferred_output",
    ),
    "messages": ("messages", "conversations", "conversation"),
    "text": ("text",),
    "system": ("system", "system_prompt"),
    "tools": ("tools", "functions"),
    "label": ("label", "kto_tag"),
}
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_INDEX = re.compile(r"Unnamed: \d+$")
_ODD = re.compile(r"^\s|\s$|[,:;]")


def plain_name(column: str) -> str:
    """A column's name without capitals and outer blanks."""
    return column.strip().lower()


def alike_column(name: str, columns: Sequence[str]) -> str | None:
    """The column called ``name``, or else the only one that differs from it in capitals and outer blanks alone."""
    if name in columns:
        return name
    found = [column for column in columns if plain_name(column) == name]
    return found[0] if len(found) == 1 else None


def is_index(column: str) -> bool:
    """Whether a column is what writers of tables call their row numbers: nothing, or "Unnamed: 0"."""
    return not column.strip() or _INDEX.match(column) is not None


def shown(columns: Iterable[str]) -> str:
    """Names of columns for a message; quoted where they would be misread."""
    return listed(
        '"" (a column without a name)' if not name else f'"{name}"' if _ODD.search(name) else name
        for name in columns
    )


def direction(
    mapping: Mapping[str, str],
    columns: Sequence[str],
    origin: str,
    free_targets: bool,
    role_of: Mapping[str, str],
) -> dict[str, str]:
    """``column_mapping`` as column -> role name, whichever way it was written: the dataset's columns decide.

    With ``free_targets`` a column may be given a name that is no role (reward columns).

    Raises:
        DataError: neither reading fits, both do, or two columns are given one role.
    """
    # An entry that maps a known role to itself says nothing where there is no such column.
    mapping = {k: v for k, v in mapping.items() if k != v or k in columns or k not in role_of}
    forward = all(key in columns for key in mapping)
    backward = all(value in columns for value in mapping.values())
    if forward and backward and any(key != value for key, value in mapping.items()):
        forward = all(value in role_of for value in mapping.values())
        if forward == all(key in role_of for key in mapping):
            arrows = ", ".join(f"{key} -> {value}" for key, value in mapping.items())
            raise DataError(
                f"column_mapping {mapping} can be read both ways for {origin}, whose columns are {shown(columns)}: as "
                f"column -> role ({arrows}) and as role -> column. Rename or remove one of the columns, or map only "
                "columns whose new name is not a column too."
            )
    if not forward and not backward:
        raise DataError(_neither(mapping, columns, origin))
    turned = mapping if forward else {value: key for key, value in mapping.items()}
    if len(turned) < len(mapping):
        raise DataError(f"column_mapping {mapping} names one column for two roles.")
    _check_targets(turned, free_targets, role_of)
    return turned


def _check_targets(chosen: Mapping[str, str], free_targets: bool, role_of: Mapping[str, str]) -> None:
    taken: dict[str, str] = {}
    for column, name in chosen.items():
        role = role_of.get(name)
        if role is None and not free_targets:
            raise DataError(
                f'column_mapping gives column "{column}" the role "{name}", which does not exist.'
                f"{did_you_mean(name, role_of)} Roles: {listed(role_of)}."
            )
        key = role or name
        if key in taken:
            raise DataError(f'column_mapping gives both "{taken[key]}" and "{column}" the role "{key}".')
        taken[key] = column


def _neither(mapping: Mapping[str, str], columns: Sequence[str], origin: str) -> str:
    absent_keys = [key for key in mapping if key not in columns]
    absent_values = [value for value in mapping.values() if value not in columns]
    missing = absent_keys if len(absent_keys) <= len(absent_values) else absent_values
    head = f"column_mapping {mapping}: {origin} has no column"
    its = f"Its columns: {shown(columns)}."
    if len(missing) == 1:
        return f'{head} "{missing[0]}".{did_you_mean(missing[0], columns)} {its}'
    near = {name: nearest(name, columns) for name in missing}
    absent = " and no column ".join(
        f'"{name}" (did you mean "{column}"?)' if column else f'"{name}"' for name, column in near.items()
    )
    return f"{head} {absent}. {its}"
