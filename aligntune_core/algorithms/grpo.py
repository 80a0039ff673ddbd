"""Group relative policy optimisation; GSPO, DAPO and Dr. GRPO are its loss with other settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator

from aligntune_core.algorithms.base import Algorithm, Batch, epochs, learning_rate
from aligntune_core.algorithms.online import Generation
from aligntune_core.fields import option

GrpoLoss = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]
Scale = Literal["group", "batch", "none"]

_EPSILON = "lower clip of the probability ratio: 1 - epsilon"
_EPSILON_HIGH = "upper clip of the probability ratio: 1 + epsilon_high"


class GrpoParameters(Generation):
    """Parameters of the GRPO family."""

    num_generations: Annotated[int, option("completions a prompt: the group", ge=2, source="TRL")] = 8
    num_iterations: Annotated[int, option("passes over each batch of completions", ge=1, source="TRL")] = 1
    steps_per_generation: Annotated[
        int | None, option("micro-batches drawn at a time", ge=1, off="gradient_accumulation_steps")
    ] = None
    beta: Annotated[
        float, option("weight of the KL to the reference; 0: no reference", ge=0, neutral=(0,), source="TRL")
    ] = 0.0
    epsilon: Annotated[float, option(_EPSILON, aliases=("cliprange",), gt=0, neutral=(0,), source="TRL")] = (
        0.2
    )
    epsilon_high: Annotated[float | None, option(_EPSILON_HIGH, gt=0, neutral=(0,), off="as epsilon")] = None
    delta: Annotated[
        float | None,
        option("second upper bound of the ratio (https://arxiv.org/abs/2505.07291)", gt=0, off="none"),
    ] = None
    loss_type: Annotated[
        GrpoLoss,
        option("how token losses are averaged: grpo by sequence, dapo over the batch, dr_grpo by a constant"),
    ] = "grpo"
    scale_rewards: Annotated[
        Scale, option("divide advantages by the deviation of the group, of the batch, or not", source="TRL")
    ] = "group"
    importance_sampling_level: Annotated[
        Literal["token", "sequence"], option("one ratio a token, or one a sequence", source="TRL")
    ] = "token"
    mask_truncated_completions: Annotated[
        bool, option("leave completions that hit the limit out of the loss")
    ] = False
    multi_objective_aggregation: Annotated[
        Literal["sum_then_normalize", "normalize_then_sum"],
        option(
            "how several rewards become one (second: GDPO, https://arxiv.org/abs/2601.05242)", source="TRL"
        ),
    ] = "sum_then_normalize"
    top_entropy_quantile: Annotated[
        float,
        option(
            "share of tokens, by entropy, in the loss, 0..1 (https://arxiv.org/abs/2506.01939)", ge=0, le=1
        ),
    ] = 1.0
    sync_ref_model: Annotated[
        bool, option("let the reference follow the policy (https://arxiv.org/abs/2404.09656)")
    ] = False
    ref_model_mixup_alpha: Annotated[
        float, option("share of the policy in that update, 0..1", ge=0, le=1)
    ] = 0.6
    ref_model_sync_steps: Annotated[int, option("steps between those updates", ge=1)] = 512
    shuffle_dataset: Annotated[bool, option("draw prompts in a seeded random order", source="TRL")] = True
    log_completions: Annotated[bool, option("log sample completions")] = False

    @field_validator("scale_rewards", mode="before")
    @classmethod
    def _scale_by_name(cls, value: Any) -> Any:
        return {True: "group", False: "none"}.get(value, value) if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _fits(self) -> GrpoParameters:
        if self.loss_type == "luspo" and self.importance_sampling_level != "sequence":
            raise ValueError('loss_type=luspo needs importance_sampling_level="sequence"')
        if self.sync_ref_model and not self.beta:
            raise ValueError("sync_ref_model needs a reference: beta above 0")
        return self


class GspoParameters(GrpoParameters):
    """GRPO with one ratio a sequence and its paper's narrow clips."""

    epsilon: Annotated[
        float, option(_EPSILON, aliases=("cliprange",), gt=0, neutral=(0,), source="GSPO paper")
    ] = 3e-4
    epsilon_high: Annotated[
        float | None, option(_EPSILON_HIGH, gt=0, off="as epsilon", source="GSPO paper")
    ] = 4e-4
    importance_sampling_level: Annotated[
        Literal["sequence"], option("one ratio a sequence: what makes it GSPO")
    ] = "sequence"
    loss_type: Annotated[Literal["grpo"], option("mean by sequence, as in the GSPO paper")] = "grpo"


class DapoParameters(GrpoParameters):
    """GRPO with a loss over all tokens, a higher upper clip, long completions masked, dynamic sampling."""

    epsilon_high: Annotated[
        float | None, option(_EPSILON_HIGH, gt=0, off="as epsilon", source="DAPO paper")
    ] = 0.28
    loss_type: Annotated[Literal["dapo"], option("mean over the tokens of the batch: what makes it DAPO")] = (
        "dapo"
    )
    mask_truncated_completions: Annotated[
        bool, option("leave completions that hit the limit out of the loss", source="DAPO paper")
    ] = True
    dynamic_sampling: Annotated[
        bool, option("draw again where all completions of a group score alike", source="DAPO paper")
    ] = True
    max_resampling: Annotated[int, option("further draws for one batch", ge=1)] = 10
    on_exhausted: Annotated[
        Literal["error", "keep"],
        option("when those draws are spent: stop with an error, or go on with what there is"),
    ] = "error"


class DrGrpoParameters(GrpoParameters):
    """GRPO without the division by length and by the group's deviation."""

    loss_type: Annotated[
        Literal["dr_grpo"], option("sum divided by a constant, max_completion_length: what makes it Dr. GRPO")
    ] = "dr_grpo"
    scale_rewards: Annotated[
        Scale, option("divide advantages by a deviation, or not", source="Dr. GRPO paper")
    ] = "none"


def updates_per_epoch(parameters: GrpoParameters, batch: Batch) -> int:
    """Steps of one pass: whole batches of groups only, each used ``num_iterations`` times."""
    steps = parameters.steps_per_generation or batch.accumulation
    prompts = batch.size * batch.world_size * steps // parameters.num_generations
    if prompts == 0:
        return 0
    micro_batches = batch.rows // prompts * steps * parameters.num_iterations
    return -(-micro_batches // batch.accumulation)


def _family(name: str, title: str, parameters: type[GrpoParameters], paper: str, *aliases: str) -> Algorithm:
    return Algorithm(
        name=name,
        kind="rl",
        columns=("prompt",),
        parameters=parameters,
        paper=paper,
        title=title,
        aliases=aliases,
        defaults={
            "optim.learning_rate": learning_rate(1e-6, 1e-5, "TRL"),
            "optim.num_epochs": epochs(1.0, "one pass over the prompts"),
        },
        updates_per_epoch=updates_per_epoch,
    )


GRPO = _family("grpo", "GRPO", GrpoParameters, "https://arxiv.org/abs/2402.03300")
GSPO = _family("gspo", "GSPO", GspoParameters, "https://arxiv.org/abs/2507.18071")
DAPO = _family("dapo", "DAPO", DapoParameters, "https://arxiv.org/abs/2503.14476")
DR_GRPO = _family("dr_grpo", "Dr. GRPO", DrGrpoParameters, "https://arxiv.org/abs/2503.20783")
