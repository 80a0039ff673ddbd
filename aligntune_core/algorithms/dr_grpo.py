"""Dr. GRPO: GRPO without the division by length and by the group's deviation."""

from __future__ import annotations

from typing import Literal

from aligntune_core.algorithms.grpo import GrpoParameters, Scale, family
from aligntune_core.fields import option


class DrGrpoParameters(GrpoParameters):
    """GRPO without the division by length and by the group's deviation."""

    loss_type: Literal["dr_grpo"] = option(
        "sum divided by a constant, max_completion_length: what makes it Dr. GRPO", "dr_grpo"
    )
    scale_rewards: Scale = option("divide advantages by a deviation, or not", "none", source="Dr. GRPO paper")


DR_GRPO = family("dr_grpo", "Dr. GRPO", DrGrpoParameters, "https://arxiv.org/abs/2503.20783")
