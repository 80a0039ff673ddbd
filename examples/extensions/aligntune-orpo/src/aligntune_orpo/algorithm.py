"""Odds ratio preference optimisation (https://arxiv.org/abs/2403.07691), as core knows it. Light."""

from __future__ import annotations

from pydantic import BaseModel, Field

from aligntune_core.toolkit import Algorithm, Default


class OrpoParameters(BaseModel):
    """Each field becomes a keyword: ``create_rl_trainer(..., algorithm="orpo", beta=0.2)``."""

    beta: float = Field(default=0.1, ge=0, description="weight of the odds ratio term; lambda in the paper")
    disable_dropout: bool = Field(default=True, description="switch dropout off")


ORPO = Algorithm(
    name="orpo",
    parameters=OrpoParameters,
    formats=("preference",),
    paper="https://arxiv.org/abs/2403.07691",
    title="ORPO",
    defaults={
        "optim.learning_rate": Default(8e-6, 8e-5, "ORPO paper; ten times that with LoRA"),
        "optim.num_epochs": 1.0,
    },
)
