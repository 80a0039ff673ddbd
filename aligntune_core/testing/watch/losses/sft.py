"""Cross-entropy: the sum over all tokens of the global batch, divided by their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core.testing.watch.contract import Sample, logps

SETTINGS: Mapping[str, Any] = {}


def loss(
    model: Any,
    reference: Any,
    parameters: Mapping[str, Any],
    step: Sequence[Sequence[Sequence[Sample]]],
) -> Any:
    """The loss of one optimiser step."""
    terms = [logps(model, samples[0]) for micro in step for samples in micro]
    return -sum(term.sum() for term in terms) / sum(len(term) for term in terms)
