"""Algorithms known to core: their names, rows and parameters. Core's own and those of installed distributions."""

from aligntune_core.algorithms.base import Algorithm, Batch, Default
from aligntune_core.algorithms.catalogue import find, known, names

__all__ = ["Algorithm", "Batch", "Default", "find", "known", "names"]
