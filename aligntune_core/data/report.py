"""The error of rows that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from aligntune_core.errors import BadRows
from aligntune_core.types import BadRow

SHOWN = 10


def bad_rows_error(source: str, bad: Sequence[BadRow], given: int, dropping: bool) -> BadRows:
    """The error that lists the first rows at fault and says what to do."""
    head = f"{source}: {len(bad)} of {given} rows cannot be used"
    lines = [f"  {row}" for row in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  ... and {len(bad) - SHOWN} more")
    if dropping or len(bad) == given:
        remedy = "No row is left to train on. Correct the data, or the settings that the reasons name."
    else:
        remedy = 'Correct them, or leave them out with on_bad_rows="drop".'
    return BadRows("\n".join([head, *lines, remedy]), bad)
