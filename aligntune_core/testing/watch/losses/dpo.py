"""Sigmoid DPO: the mean over the micro-batches of their means over pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core.testing.watch.contract import Sample, logps

SETTINGS: Mapping[str, Any] = {"parameters.beta": 0.2}


def loss(
    model: Any,
    reference: Any,
    parameters: Mapping[str, Any],
    step: Sequence[Sequence[Sequence[Sample]]],
) -> Any:
    """The loss of one optimiser step."""
    import torch
    import torch.nn.functional as F

    def log_ratio(sample: Sample) -> Any:
        with torch.no_grad():
            expected = float(logps(reference, sample).sum())  # which may be on another device
        return logps(model, sample).sum() - expected

    beta, means = parameters["parameters.beta"], []
    for micro in step:
        margins = [beta * (log_ratio(chosen) - log_ratio(rejected)) for chosen, rejected in micro]
        means.append(sum(-F.logsigmoid(margin) for margin in margins) / len(margins))
    return sum(means) / len(means)
