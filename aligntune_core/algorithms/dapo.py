"""DAPO: GRPO with a loss over all tokens, a higher upper clip and dynamic sampling."""

from __future__ import annotations

from typing import Literal

from aligntune_core.algorithms.grpo import EPSILON_HIGH, GrpoParameters, family
from aligntune_core.fields import option


class DapoParameters(GrpoParameters):
    """GRPO with a loss over all tokens, a higher upper clip, long completions masked, dynamic sampling."""

    epsilon_high: float | None = option(EPSILON_HIGH, 0.28, gt=0, off="as epsilon", source="DAPO paper")
    loss_type: Literal["dapo"] = option("mean over the tokens of the batch: what makes it DAPO", "dapo")
    mask_truncated_completions: bool = option(
        "leave completions that hit the limit out of the loss", True, source="DAPO paper"
    )
    overlong_punishment: float = option(
        "weight of the soft overlong punishment, which is added to the rewards; 0: none",
        1.0,
        ge=0,
        neutral=(0,),
        source="DAPO paper",
    )
    overlong_cache: int | None = option(
        "tokens before the limit in which that punishment grows from 0 to -1",
        None,
        ge=1,
        off="a fifth of max_completion_length, as in the DAPO paper",
        needs="overlong_punishment",
    )
    dynamic_sampling: bool = option(
        "draw other prompts in place of those whose completions all score alike (overlong punishment not counted)",
        True,
        source="DAPO paper",
    )
    max_resampling: int = option("further draws for one batch", 10, ge=1, needs="dynamic_sampling")
    on_exhausted: Literal["error", "keep"] = option(
        "when those draws are spent: stop with an error, or go on with what there is",
        "error",
        needs="dynamic_sampling",
    )


DAPO = family("dapo", "DAPO", DapoParameters, "https://arxiv.org/abs/2503.14476")
