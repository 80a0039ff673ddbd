"""Losses that the kit has by hand, one module an algorithm, found by the algorithm's name.

A module holds ``loss(model, reference, parameters, step)``, where a step is its micro-batches of rows of samples and
``parameters`` maps "parameters.NAME" to a value, and ``SETTINGS``: what a run sets so that a backend's own default is
told from what was set. An algorithm without a module is trained and watched all the same; its loss is not judged.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def reference_loss(algorithm: str) -> ModuleType | None:
    """The module that holds the loss of an algorithm of core's, or None; only its call imports torch."""
    name = f"{__name__}.{algorithm}"
    return import_module(name) if algorithm.isidentifier() and find_spec(name) else None
