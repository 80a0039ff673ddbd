"""Algorithms known to core: their names, rows and parameters. Core's own and those of installed distributions."""

from aligntune_core.algorithms.base import Algorithm, Batch, Default
from aligntune_core.algorithms.catalogue import find, known, names
from aligntune_core.algorithms.catalogue import find as find_algorithm

__all__ = ["Algorithm", "Batch", "Default", "find", "find_algorithm", "known", "names"]
