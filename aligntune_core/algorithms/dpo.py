"""Direct preference optimisation: learn from pairs of a chosen and a rejected completion."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from aligntune_core.algorithms.base import Algorithm, epochs, learning_rate
from aligntune_core.fields import Section, option
from aligntune_core.wording import listed

DpoLoss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip
READS_LABEL_SMOOTHING = {"robust", "exo_pair", "aot", "aot_unpaired"}
# The others have no generalisation to another divergence.
TAKES_F_DIVERGENCE = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft")


class DpoParameters(Section):
    """Parameters of direct preference optimisation."""

    beta: float = option(
        "how strongly the policy is held to the reference; for ipo its tau",
        0.1,
        ge=0,
        neutral=(0,),
        source="TRL",
    )
    loss_type: list[DpoLoss] = option(
        "loss, or a list of losses that are added with loss_weights", ["sigmoid"], source="TRL", min_length=1
    )
    loss_weights: list[float] | None = option("weight of each loss", None, off="1 each", example=[0.5])
    label_smoothing: float = option(
        "share of pairs assumed to be labelled wrongly, 0..0.5; read by robust, exo_pair, aot",
        0.0,
        ge=0,
        lt=0.5,
        neutral=(0,),
        source="TRL",
        example=0.1,
        beside={"parameters.loss_type": ["robust"]},
    )
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = option(
        "divergence between policy and reference (https://arxiv.org/abs/2309.16240)",
        "reverse_kl",
        source="TRL",
    )
    f_alpha_divergence_coef: float = option(
        "alpha of alpha_divergence", 0.5, source="TRL", needs="f_divergence_type=alpha_divergence"
    )
    use_weighting: bool = option(
        "weigh pairs by the policy's own probability (WPO, https://arxiv.org/abs/2406.11827)", False
    )
    discopop_tau: float = option(
        "temperature of the discopop loss", 0.05, gt=0, source="TRL", needs="loss_type=discopop"
    )
    ld_alpha: float | None = option(
        "weight of tokens beyond the shorter answer's length, 0..1 (https://arxiv.org/abs/2409.06411)",
        None,
        ge=0,
        le=1,
        off="1: no weighting",
    )
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

    @field_validator("loss_type", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> DpoParameters:
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_type):
            raise ValueError(
                f"loss_weights has {len(self.loss_weights)} entries for {len(self.loss_type)} loss types"
            )
        if self.label_smoothing and not READS_LABEL_SMOOTHING & set(self.loss_type):
            raise ValueError(
                f"label_smoothing={self.label_smoothing} is read by loss_type "
                f"{listed(sorted(READS_LABEL_SMOOTHING))}, not by {listed(self.loss_type)}; "
                "for noisy labels take loss_type=robust"
            )
        if "exo_pair" in self.loss_type and self.label_smoothing == 0:
            raise ValueError("label_smoothing must be above 0 with loss_type=exo_pair; its paper takes 1e-3")
        unfit = [name for name in self.loss_type if name not in TAKES_F_DIVERGENCE]
        if self.f_divergence_type != "reverse_kl" and unfit:
            raise ValueError(f"loss_type {listed(unfit)} works with f_divergence_type=reverse_kl only")
        if self.use_weighting and {"aot", "aot_unpaired"} & set(self.loss_type):
            raise ValueError("use_weighting works with no aot loss: it sorts the pairs apart")
        if self.sync_ref_model and self.precompute_ref_log_probs:
            raise ValueError(
                "sync_ref_model moves the reference, precompute_ref_log_probs keeps it: take one"
            )
        return self


DPO = Algorithm(
    name="dpo",
    parameters=DpoParameters,
    formats=("preference",),
    needs_reference=True,
    figures={
        "reward_accuracy": "share of pairs whose chosen completion has the higher implicit reward",
        "reward_margin": "mean difference of the implicit rewards of chosen and rejected",
    },
    paper="https://arxiv.org/abs/2305.18290",
    title="Direct preference optimisation",
    defaults={
        "optim.learning_rate": learning_rate(1e-6, 1e-5, "TRL"),
        "optim.num_epochs": epochs(1.0, "one pass over the pairs"),
    },
)
