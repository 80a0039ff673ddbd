"""DAPO: GRPO with a loss over all tokens, a higher upper clip and dynamic sampling."""

from __future__ import annotations

from typing import Annotated, Literal

from aligntune_core.algorithms.grpo import EPSILON_HIGH, GrpoParameters, family
from aligntune_core.fields import option


class DapoParameters(GrpoParameters):
    """GRPO with a loss over all tokens, a higher upper clip, long completions masked, dynamic sampling."""

    epsilon_high: Annotated[
        float | None, option(EPSILON_HIGH, gt=0, off="as epsilon", source="DAPO paper")
    ] = 0.28
    loss_type: Annotated[Literal["dapo"], option("mean over the tokens of the batch: what makes it DAPO")] = (
        "dapo"
    )
    mask_truncated_completions: Annotated[
        bool, option("leave completions that hit the limit out of the loss", source="DAPO paper")
    ] = True
    overlong_punishment: Annotated[
        float,
        option(
            "weight of the soft overlong punishment, which is added to the rewards; 0: none",
            ge=0,
            neutral=(0,),
            source="DAPO paper",
        ),
    ] = 1.0
    overlong_cache: Annotated[
        int | None,
        option(
            "tokens before the limit in which that punishment grows from 0 to -1",
            ge=1,
            off="a fifth of max_completion_length, as in the DAPO paper",
            needs="overlong_punishment",
        ),
    ] = None
    dynamic_sampling: Annotated[
        bool,
        option(
            "draw other prompts in place of those whose completions all score alike (overlong punishment not counted)",
            source="DAPO paper",
        ),
    ] = True
    max_resampling: Annotated[int, option("further draws for one batch", ge=1, needs="dynamic_sampling")] = 10
    on_exhausted: Annotated[
        Literal["error", "keep"],
        option(
            "when those draws are spent: stop with an error, or go on with what there is",
            needs="dynamic_sampling",
        ),
    ] = "error"


DAPO = family("dapo", "DAPO", DapoParameters, "https://arxiv.org/abs/2503.14476")
