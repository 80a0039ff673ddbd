"""Group relative policy optimisation; GSPO, DAPO and Dr. GRPO are its loss with other settings."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import Any, Literal, get_args

from pydantic import field_validator, model_validator

from aligntune_core.algorithms.base import Algorithm, Batch, epochs, learning_rate
from aligntune_core.algorithms.generation import Generation
from aligntune_core.fields import option

GrpoLoss = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]
Scale = Literal["group", "batch", "none"]

# They add up token losses, so that a ratio of the whole sequence would count once for each of its tokens.
_TOKEN_LOSSES = ("bnpo", "dr_grpo", "dapo", "cispo")

EPSILON = "lower clip of the probability ratio: 1 - epsilon"
EPSILON_HIGH = "upper clip of the probability ratio: 1 + epsilon_high"


class GrpoParameters(Generation):
    """Parameters of the GRPO family."""

    num_generations: int = option(
        "completions a prompt: the group", 8, ge=2, source="TRL", example=4, beside={"optim.batch_size": 4}
    )
    num_generations_eval: int = option("completions a prompt when held-out rows are evaluated", 1, ge=1)
    num_iterations: int = option("passes over each batch of completions", 1, ge=1, source="TRL")
    steps_per_generation: int | None = option(
        "micro-batches drawn at a time, as one process would have",
        None,
        ge=1,
        off="gradient_accumulation_steps",
    )
    beta: float = option(
        "weight of the KL to the reference; 0: no reference", 0.0, ge=0, neutral=(0,), source="TRL"
    )
    epsilon: float = option(EPSILON, 0.2, aliases=("cliprange",), gt=0, lt=1, neutral=(0,), source="TRL")
    epsilon_high: float | None = option(EPSILON_HIGH, None, gt=0, neutral=(0,), off="as epsilon")
    use_bias_correction_kl: bool = option(
        "multiply the KL by the probability ratio, which makes its gradient unbiased "
        "(https://arxiv.org/abs/2512.02556); the GRPO paper does not",
        True,
        source="TRL",
        needs="beta",
    )
    delta: float | None = option(
        "second upper bound of the ratio (https://arxiv.org/abs/2505.07291)", None, gt=0, off="none"
    )
    loss_type: GrpoLoss = option(
        "how token losses are averaged: grpo by sequence, dapo over the batch, dr_grpo by a constant", "grpo"
    )
    scale_rewards: Scale = option(
        "divide advantages by the deviation of the group, of the batch, or not", "group", source="TRL"
    )
    importance_sampling_level: Literal["token", "sequence"] = option(
        "one ratio a token, or one a sequence", "token", source="TRL"
    )
    mask_truncated_completions: bool = option("leave completions that hit the limit out of the loss", False)
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = option(
        "how several rewards become one (second: GDPO, https://arxiv.org/abs/2601.05242)",
        "sum_then_normalize",
        source="TRL",
    )
    top_entropy_quantile: float = option(
        "share of tokens, by entropy, in the loss, 0..1 (https://arxiv.org/abs/2506.01939)", 1.0, ge=0, le=1
    )
    sync_ref_model: bool = option(
        "let the reference follow the policy (https://arxiv.org/abs/2404.09656)",
        False,
        beside={"parameters.beta": 0.1},
    )
    ref_model_mixup_alpha: float = option(
        "share of the policy in that update, 0..1", 0.6, ge=0, le=1, needs="sync_ref_model"
    )
    ref_model_sync_steps: int = option("steps between those updates", 512, ge=1, needs="sync_ref_model")
    shuffle_dataset: bool = option("draw prompts in a seeded random order", True, source="TRL")
    generation: Literal["transformers", "vllm"] = option(
        "what writes completions; vllm is handed to TRL as it is and not verified by aligntune",
        "transformers",
    )
    vllm_options: dict[str, Any] | None = option(
        'TRL\'s own vllm_ arguments, e.g. {"vllm_gpu_memory_utilization": 0.3}', None, off="TRL's defaults"
    )

    @field_validator("scale_rewards", mode="before")
    @classmethod
    def _scale_by_name(cls, value: Any) -> Any:
        return {True: "group", False: "none"}.get(value, value) if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _fits(self) -> GrpoParameters:
        if self.loss_type == "luspo" and self.importance_sampling_level != "sequence":
            raise ValueError('loss_type=luspo needs importance_sampling_level="sequence"')
        if self.loss_type == "vespo" and self.importance_sampling_level != "token":
            raise ValueError('loss_type=vespo needs importance_sampling_level="token"')
        if self.importance_sampling_level == "sequence" and self.loss_type in _TOKEN_LOSSES:
            raise ValueError(
                f'importance_sampling_level="sequence" with loss_type={self.loss_type}, which adds up tokens, would '
                f"weigh each sequence by its length: {self._way_out()}"
            )
        if self.vllm_options and self.generation != "vllm":
            raise ValueError('vllm_options needs generation="vllm"')
        if self.sync_ref_model and not self.beta:
            raise ValueError("sync_ref_model needs a reference: beta above 0")
        return self

    def _way_out(self) -> str:
        """The advice to a user who sets a sequence's ratio with a loss that adds up tokens."""
        losses = get_args(type(self).model_fields["loss_type"].annotation)
        if len(losses) == 1:  # the algorithm allows no other
            return 'leave importance_sampling_level out, or take algorithm="gspo", which is made for it'
        return 'take loss_type="grpo", or importance_sampling_level="token"'


def updates_per_epoch(parameters: GrpoParameters, batch: Batch) -> int:
    """Steps of one pass: whole batches of groups only, each used ``num_iterations`` times."""
    shared = parameters.steps_per_generation  # as one process would have; several processes share them
    steps = shared // batch.world_size if shared else batch.accumulation
    prompts = batch.size * batch.world_size * steps // parameters.num_generations
    if prompts == 0:
        return 0
    micro_batches = batch.rows // prompts * steps * parameters.num_iterations
    return -(-micro_batches // batch.accumulation)


def _drawn_steps(factor: int) -> Any:
    """``steps_per_generation`` where it is not given: ``factor`` optimiser steps on each batch of completions."""

    def fill(config: Any) -> Iterator[tuple[str, Any, str]]:
        steps = factor * config.optim.gradient_accumulation_steps
        times = f"{factor} x " if factor > 1 else ""
        yield "parameters.steps_per_generation", steps, f"default: {times}gradient_accumulation_steps"

    return fill


def problems(config: Any) -> Iterator[str]:
    """Batches that do not hold whole groups, with the nearest that do."""
    parameters, optim, group = config.parameters, config.optim, config.parameters.num_generations
    steps = parameters.steps_per_generation or optim.gradient_accumulation_steps
    drawn = optim.batch_size * steps
    if drawn % group:
        sizes = _multiples(optim.batch_size, group // gcd(group, steps))
        yield (
            f"num_generations={group} does not divide the {drawn} completions of a draw "
            f"(batch_size={optim.batch_size} x steps_per_generation={steps}): take "
            + _nearest(num_generations=_divisors(drawn, group), batch_size=sizes)
        )
    each, size = parameters.num_generations_eval, optim.eval_batch_size
    if config.run.eval_strategy != "no" and size % each:
        groups = _divisors(size, each, least=1)
        yield (
            f"num_generations_eval={each} does not divide eval_batch_size={size}: take "
            + _nearest(num_generations_eval=groups, eval_batch_size=_multiples(size, each))
        )
    if getattr(parameters, "dynamic_sampling", False) and config.data.streaming:
        yield "dynamic_sampling draws rows a second time, a stream does not: streaming=False or dynamic_sampling=False"
    cache, limit = getattr(parameters, "overlong_cache", None), parameters.max_completion_length
    if cache is not None and cache > limit:
        yield f"overlong_cache={cache} is more than max_completion_length={limit}"


def _nearest(**values: list[int]) -> str:
    texts = {name: " or ".join(map(str, numbers)) for name, numbers in values.items()}
    return ", or ".join(f"{name}={text}" for name, text in texts.items() if text)


def _divisors(number: int, near: int, least: int = 2) -> list[int]:
    """The divisors of ``number`` on either side of ``near``."""
    divisors = [n for n in range(least, number + 1) if number % n == 0]
    return [*[n for n in divisors if n < near][-1:], *[n for n in divisors if n > near][:1]]


def _multiples(near: int, unit: int) -> list[int]:
    """The multiples of ``unit`` on either side of ``near``."""
    below = near // unit * unit
    return [n for n in (below, below + unit) if n]


def family(
    name: str, title: str, parameters: type[GrpoParameters], paper: str, *aliases: str, drawn: int = 1
) -> Algorithm:
    return Algorithm(
        name=name,
        parameters=parameters,
        formats=("prompts",),
        needs_reference=lambda parameters: bool(parameters.beta),
        generates=True,
        scored_by="rewards",
        long_rows="refuse",
        paper=paper,
        title=title,
        aliases=aliases,
        defaults={
            "optim.learning_rate": learning_rate(1e-6, 1e-5, "TRL"),
            "optim.num_epochs": epochs(1.0, "one pass over the prompts"),
        },
        updates_per_epoch=updates_per_epoch,
        fill=_drawn_steps(drawn),
        problems=problems,
    )


GRPO = family("grpo", "GRPO", GrpoParameters, "https://arxiv.org/abs/2402.03300")
