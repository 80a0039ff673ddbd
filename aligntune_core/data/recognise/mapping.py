"""``column_mapping``, read in either direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aligntune_core.data.roles import ROLE_OF, shown
from aligntune_core.errors import DataError
from aligntune_core.wording import did_you_mean, listed, nearest


def direction(
    mapping: Mapping[str, str],
    columns: Sequence[str],
    origin: str,
    free_targets: bool,
    role_of: Mapping[str, str] = ROLE_OF,
) -> dict[str, str]:
    """``column_mapping`` as column -> role name, whichever way it was written.

    Args:
        mapping: as given: column -> role, or role -> column.
        columns: the dataset's columns; they decide the direction.
        origin: the dataset in messages.
        free_targets: whether a column may be given a name that is no role (reward columns).
        role_of: name -> role; an algorithm's own formats may have roles of their own.

    Raises:
        DataError: neither reading fits, both do, or two columns are given one role.
    """
    # An entry that maps a known role to itself says nothing where there is no such column.
    mapping = {k: v for k, v in mapping.items() if k != v or k in columns or k not in role_of}
    forward = all(key in columns for key in mapping)
    backward = all(value in columns for value in mapping.values())
    if forward and backward and any(key != value for key, value in mapping.items()):
        forward_roles = all(value in role_of for value in mapping.values())
        backward_roles = all(key in role_of for key in mapping)
        if forward_roles == backward_roles:
            raise DataError(_both(mapping, columns, origin))
        forward = forward_roles
    if forward:
        chosen = dict(mapping)
    elif backward:
        chosen = {value: key for key, value in mapping.items()}
        if len(chosen) < len(mapping):
            raise DataError(f"column_mapping {dict(mapping)} names one column for two roles.")
    else:
        raise DataError(_neither(mapping, columns, origin))
    _check_targets(chosen, free_targets, role_of)
    return chosen


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


def _both(mapping: Mapping[str, str], columns: Sequence[str], origin: str) -> str:
    arrows = ", ".join(f"{key} -> {value}" for key, value in mapping.items())
    return (
        f"column_mapping {dict(mapping)} can be read both ways for {origin}, whose columns are {shown(columns)}: as "
        f"column -> role ({arrows}) and as role -> column. Rename or remove one of the columns, or map only columns "
        "whose new name is not a column too."
    )


def _neither(mapping: Mapping[str, str], columns: Sequence[str], origin: str) -> str:
    absent_keys = [key for key in mapping if key not in columns]
    absent_values = [value for value in mapping.values() if value not in columns]
    missing = absent_keys if len(absent_keys) <= len(absent_values) else absent_values
    head = f"column_mapping {dict(mapping)}: {origin} has no column"
    its = f"Its columns: {shown(columns)}."
    if len(missing) == 1:
        return f'{head} "{missing[0]}".{did_you_mean(missing[0], columns)} {its}'
    near = {name: nearest(name, columns) for name in missing}
    absent = " and no column ".join(
        f'"{name}" (did you mean "{column}"?)' if column else f'"{name}"' for name, column in near.items()
    )
    return f"{head} {absent}. {its}"
