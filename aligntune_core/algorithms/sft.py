"""Supervised fine-tuning: cross-entropy on given completions."""

from __future__ import annotations

from typing import Literal

from aligntune_core.algorithms.base import Algorithm, epochs, learning_rate
from aligntune_core.fields import Section, option


class SftParameters(Section):
    """Parameters of supervised fine-tuning."""

    loss_type: Literal["nll", "dft"] = option(
        "nll: cross-entropy; dft: cross-entropy weighted by each token's own probability "
        "(https://arxiv.org/abs/2508.05629)",
        "nll",
        source="TRL",
    )


SFT = Algorithm(
    name="sft",
    parameters=SftParameters,
    formats=("tokens", "messages", "pair", "text"),
    figures={
        "perplexity": "exponential of the loss",
        "token_accuracy": "share of tokens of the completion that are the likeliest",
    },
    paper="https://arxiv.org/abs/2109.01652",
    title="Supervised fine-tuning",
    aliases=("supervised_fine_tuning",),
    defaults={
        "optim.learning_rate": learning_rate(2e-5, 2e-4, "TRL"),
        "optim.num_epochs": epochs(3.0, "transformers"),
    },
)
