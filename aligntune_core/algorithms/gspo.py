"""GSPO: GRPO with one probability ratio a sequence."""

from __future__ import annotations

from typing import Literal

from aligntune_core.algorithms.grpo import EPSILON, EPSILON_HIGH, GrpoParameters, family
from aligntune_core.fields import option


class GspoParameters(GrpoParameters):
    """GRPO with one ratio a sequence and its paper's narrow clips."""

    steps_per_generation: int | None = option(
        "micro-batches drawn at a time: only from the second step on a batch does the ratio differ from 1",
        None,
        ge=1,
        off="4 x gradient_accumulation_steps, as in the GSPO paper",
    )
    epsilon: float = option(
        EPSILON, 3e-4, aliases=("cliprange",), gt=0, lt=1, neutral=(0,), source="GSPO paper"
    )
    epsilon_high: float | None = option(EPSILON_HIGH, 4e-4, gt=0, off="as epsilon", source="GSPO paper")
    importance_sampling_level: Literal["sequence"] = option(
        "one ratio a sequence: what makes it GSPO", "sequence"
    )
    loss_type: Literal["grpo"] = option("mean by sequence, as in the GSPO paper", "grpo")


GSPO = family("gspo", "GSPO", GspoParameters, "https://arxiv.org/abs/2507.18071", drawn=4)
