"""Proximal policy optimisation with a value model, the classic of RLHF."""

from __future__ import annotations

from typing import Annotated, Literal

from aligntune_core.algorithms.base import Algorithm, epochs, learning_rate
from aligntune_core.algorithms.generation import Generation
from aligntune_core.fields import option

TRL = "TRL 1.12"


class PpoParameters(Generation):
    """Parameters of PPO; ``max_steps`` counts its updates: a rollout with all its epochs."""

    max_completion_length: Annotated[
        int,
        option(
            "tokens a completion may have", aliases=("response_length", "max_new_tokens"), ge=1, source=TRL
        ),
    ] = 53
    temperature: Annotated[float, option("sampling temperature", gt=0, source=TRL)] = 0.7
    num_ppo_epochs: Annotated[
        int, option("passes over each rollout", aliases=("ppo_epochs",), ge=1, source=TRL)
    ] = 4
    num_mini_batches: Annotated[int, option("parts a rollout is cut into", ge=1, source=TRL)] = 1
    kl_coef: Annotated[
        float,
        option(
            "weight of the KL penalty in the reward",
            aliases=("init_kl_coef",),
            ge=0,
            neutral=(0,),
            source=TRL,
        ),
    ] = 0.05
    kl_estimator: Annotated[
        Literal["k1", "k3"], option("estimator of the KL (http://joschu.net/blog/kl-approx.html)", source=TRL)
    ] = "k1"
    cliprange: Annotated[
        float, option("clip of the probability ratio", aliases=("epsilon",), gt=0, neutral=(0,), source=TRL)
    ] = 0.2
    vf_coef: Annotated[float, option("weight of the value loss", ge=0, neutral=(0,), source=TRL)] = 0.1
    cliprange_value: Annotated[float, option("clip of the value's change", gt=0, source=TRL)] = 0.2
    gamma: Annotated[float, option("discount, 0..1", ge=0, le=1, source=TRL)] = 1.0
    lam: Annotated[float, option("lambda of the advantage estimator, 0..1", ge=0, le=1, source=TRL)] = 0.95
    whiten_rewards: Annotated[bool, option("scale rewards to unit variance", source=TRL)] = False
    whiten_advantages: Annotated[bool, option("scale advantages to mean 0 and unit variance", source=TRL)] = (
        True
    )
    target_kl: Annotated[
        float | None,
        option(
            "approximate KL to the policy that sampled, in nats a token, at which the passes over a rollout end",
            gt=0,
            off="never",
        ),
    ] = None
    rollout_batch_size: Annotated[
        int | None, option("completions generated at a time", ge=1, off="the whole rollout")
    ] = None
    missing_eos_penalty: Annotated[
        float | None,
        option("taken off the score of a completion that does not end", ge=0, neutral=(0,), off="none"),
    ] = None
    disable_dropout: Annotated[bool, option("switch dropout off", source=TRL)] = True


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
