"""Data: load, recognise, convert to canonical columns, and check every row before weights are loaded.

``prepare_datasets`` is the way in; ``render`` shows a row as the model will see it. docs/data-formats.md says which
formats are recognised and what becomes of each. Importing this package imports neither ``datasets`` nor a tokenizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.data.pieces import render, render_sequences
    from aligntune_core.data.prepare import prepare_datasets, prepare_rows
    from aligntune_core.data.sources.reasoning_gym import reasoning_gym_rows
    from aligntune_core.errors import BadRows
    from aligntune_core.types import BadRow, DataReport

__getattr__, __dir__ = lazy(__name__)

__all__ = [
    "BadRow",
    "BadRows",
    "DataReport",
    "prepare_datasets",
    "prepare_rows",
    "reasoning_gym_rows",
    "render",
    "render_sequences",
]
