"""The algorithms that this backend trains: a file each, which holds its objective.

Light: listings ask for names only; ``objective`` imports the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aligntune_core.toolkit import Argument, Table, write

if TYPE_CHECKING:
    from aligntune_core import Config, LoadedModel

PARAMETERS: Mapping[str, Table] = {
    "sft": (),
    "dpo": (
        Argument("parameters.beta", "objective", "beta"),
        Argument("parameters.disable_dropout", "objective", "disable_dropout"),
    ),
}
"""Algorithms with those of their parameters that are honoured; the others have to keep their defaults."""


def objective(config: Config, loaded: LoadedModel) -> Any:
    """The objective of the run's algorithm over its models: called with a micro-batch and its share of the global
    batch, it gives loss and figures to log."""
    arguments = write(PARAMETERS[config.algorithm], config, "objective", 'backend "torch"')
    return import_module(f"{__name__}.{config.algorithm}").Objective(loaded, **arguments)
