"""Proximal policy optimisation with a value model, the classic of RLHF."""

from __future__ import annotations

from typing import Literal

from aligntune_core.algorithms.base import Algorithm, epochs, learning_rate
from aligntune_core.algorithms.generation import Generation
from aligntune_core.fields import option

TRL = "TRL 1.12"


class PpoParameters(Generation):
    """Parameters of PPO; ``max_steps`` counts its updates: a rollout with all its epochs."""

    max_completion_length: int = option(
        "tokens a completion may have", 53, aliases=("response_length", "max_new_tokens"), ge=1, source=TRL
    )
    temperature: float = option("sampling temperature", 0.7, gt=0, source=TRL)
    num_ppo_epochs: int = option("passes over each rollout", 4, aliases=("ppo_epochs",), ge=1, source=TRL)
    num_mini_batches: int = option("parts a rollout is cut into", 1, ge=1, source=TRL)
    kl_coef: float = option(
        "weight of the KL penalty in the reward",
        0.05,
        aliases=("init_kl_coef",),
        ge=0,
        neutral=(0,),
        source=TRL,
    )
    kl_estimator: Literal["k1", "k3"] = option(
        "estimator of the KL (http://joschu.net/blog/kl-approx.html)", "k1", source=TRL
    )
    cliprange: float = option(
        "clip of the probability ratio", 0.2, aliases=("epsilon",), gt=0, neutral=(0,), source=TRL
    )
    vf_coef: float = option("weight of the value loss", 0.1, ge=0, neutral=(0,), source=TRL)
    cliprange_value: float = option("clip of the value's change", 0.2, gt=0, source=TRL)
    gamma: float = option("discount, 0..1", 1.0, ge=0, le=1, source=TRL)
    lam: float = option("lambda of the advantage estimator, 0..1", 0.95, ge=0, le=1, source=TRL)
    whiten_rewards: bool = option("scale rewards to unit variance", False, source=TRL)
    whiten_advantages: bool = option("scale advantages to mean 0 and unit variance", True, source=TRL)
    target_kl: float | None = option(
        "approximate KL to the policy that sampled, in nats a token, at which the passes over a rollout end",
        None,
        gt=0,
        off="never",
    )
    rollout_batch_size: int | None = option(
        "completions generated at a time", None, ge=1, off="the whole rollout"
    )
    missing_eos_penalty: float | None = option(
        "taken off the score of a completion that does not end", None, ge=0, neutral=(0,), off="none"
    )
    disable_dropout: bool = option("switch dropout off", True, source=TRL)


PPO = Algorithm(
    name="ppo",
    parameters=PpoParameters,
    formats=("prompts",),
    needs_reference=True,
    generates=True,
    scored_by="rewards",
    long_rows="refuse",
    paper="https://arxiv.org/abs/1707.06347",
    title="Proximal policy optimisation",
    defaults={
        "optim.learning_rate": learning_rate(3e-6, 3e-5, TRL),
        "optim.num_epochs": epochs(1.0, "one pass over the prompts"),
    },
)
