"""Data sets of the other tools as ours: one is ``dataset_name`` and its like, several are ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aligntune.conversion.draft import Draft
from aligntune_core.config import keywords as kw
from aligntune_core.data.columns import ROLE_OF

# What an entry of ``datasets`` says -> the keyword that says it of a single data set.
KEYWORDS = {
    "name": "dataset_name",
    "config_name": "config_name",
    "split": "split",
    "column_mapping": "column_mapping",
    "text_column": "text_column",
    "max_samples": "max_samples",
}
WEIGHT = "weight"


def put(draft: Draft, key: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write data sets down.

    Args:
        draft: of the configuration.
        key: that they come from.
        entries: each with the keys of ``KEYWORDS`` that it has, and "weight".
    """
    if len(entries) > 1 and "datasets" in kw.flat():
        draft.put("datasets", [dict(entry) for entry in entries], key)
        return
    for name, value in entries[0].items() if entries else ():
        if name in KEYWORDS:
            draft.put(KEYWORDS[name], value, key)
    for entry in entries[1:]:
        draft.leave_out(
            key, entry, f"{key}: {entry['name']} is left out: join data sets beforehand, and name the result"
        )


def mapping(columns: Mapping[str, str]) -> dict[str, str]:
    """Column -> role, without the columns that are recognised as what they are."""
    return {
        column: role
        for role, column in columns.items()
        if ROLE_OF.get(column.lower()) != ROLE_OF.get(role, role)
    }
