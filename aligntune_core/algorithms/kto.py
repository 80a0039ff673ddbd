"""Kahneman-Tversky optimisation: learn from single completions that are good or bad, without pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import model_validator

from aligntune_core.algorithms.base import Algorithm, epochs, learning_rate
from aligntune_core.fields import Section, option


class KtoParameters(Section):
    """Parameters of Kahneman-Tversky optimisation."""

    beta: float = option(
        "how strongly the policy is held to the reference", 0.1, ge=0, neutral=(0,), source="TRL"
    )
    loss_type: Literal["kto", "apo_zero_unpaired"] = option(
        "kto: the paper's, against an estimate of the KL; apo_zero_unpaired: without one "
        "(https://arxiv.org/abs/2408.06266)",
        "kto",
        source="TRL",
    )
    desirable_weight: float = option("weight of completions whose label is true", 1.0, ge=0, source="TRL")
    undesirable_weight: float = option("weight of completions whose label is false", 1.0, ge=0, source="TRL")
    precompute_ref_log_probs: bool = option(
        "compute the reference's log-probabilities once, before training", False
    )
    precompute_ref_batch_size: int | None = option(
        "rows a batch of that computation", None, ge=1, off="batch_size", needs="precompute_ref_log_probs"
    )
    sync_ref_model: bool = option(
        "let the reference follow the policy (TR-DPO, https://arxiv.org/abs/2404.09656)", False
    )
    ref_model_mixup_alpha: float = option(
        "share of the policy in that update, 0..1", 0.6, ge=0, le=1, needs="sync_ref_model"
    )
    ref_model_sync_steps: int = option("steps between those updates", 512, ge=1, needs="sync_ref_model")
    disable_dropout: bool = option("switch dropout off in policy and reference", True, source="TRL")

    @model_validator(mode="after")
    def _fits(self) -> KtoParameters:
        if self.sync_ref_model and self.precompute_ref_log_probs:
            raise ValueError(
                "sync_ref_model moves the reference, precompute_ref_log_probs keeps it: take one"
            )
        if self.desirable_weight == 0 and self.undesirable_weight == 0:
            raise ValueError("desirable_weight and undesirable_weight are both 0: there is nothing to learn")
        return self


def problems(config: Any) -> Iterator[str]:
    """Settings under which the KL cannot be estimated: it pairs each prompt with the completion of its neighbour."""
    if config.parameters.loss_type == "kto" and config.optim.batch_size < 2:
        yield (
            "batch_size=1: the loss kto estimates the KL from the completions of the other rows of a batch; take 2 or "
            'more (gradient_accumulation_steps keeps the global batch), or loss_type="apo_zero_unpaired"'
        )


KTO = Algorithm(
    name="kto",
    parameters=KtoParameters,
    formats=("unpaired",),
    needs_reference=True,
    figures={
        "kl": "estimate of the KL between policy and reference, in nats a completion",
        "reward_desirable": "mean implicit reward of completions whose label is true",
        "reward_undesirable": "mean implicit reward of completions whose label is false",
        "reward_margin": "the difference of those two",
    },
    paper="https://arxiv.org/abs/2402.01306",
    title="Kahneman-Tversky optimisation",
    defaults={
        "optim.learning_rate": learning_rate(1e-6, 1e-5, "TRL"),
        "optim.num_epochs": epochs(1.0, "one pass over the rows"),
    },
    problems=problems,
)
