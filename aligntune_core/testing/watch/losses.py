"""Losses that the kit has by hand, one function an algorithm; torch is imported inside.

Each takes the policy, the policy as it was, "parameters.NAME" -> value, and an optimiser step as its micro-batches of
rows of samples. An algorithm without one is trained and watched all the same; its loss is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aligntune_core.testing.watch.contract import Sample, logps

Step = Sequence[Sequence[Sequence[Sample]]]
Loss = Callable[[Any, Any, Mapping[str, Any], Step], Any]


def cross_entropy(model: Any, reference: Any, parameters: Mapping[str, Any], step: Step) -> Any:
    """The sum over all tokens of the global batch, divided by their number."""
    terms = [logps(model, samples[0]) for micro in step for samples in micro]
    return -sum(term.sum() for term in terms) / sum(len(term) for term in terms)


def sigmoid_dpo(model: Any, reference: Any, parameters: Mapping[str, Any], step: Step) -> Any:
    """The mean over the micro-batches of their means over pairs."""
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


LOSSES: Mapping[str, Loss] = {"sft": cross_entropy, "dpo": sigmoid_dpo}
SETTINGS: Mapping[str, Mapping[str, Any]] = {"dpo": {"parameters.beta": 0.2}}
"""What a run sets so that a backend's own default is told from what was set."""
