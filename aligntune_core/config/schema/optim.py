"""The section that says how weights are updated: optimiser, schedule, batch, memory."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from aligntune_core.fields import Section, option, ours


class OptimConfig(Section):
    """Optimiser, schedule and batch."""

    learning_rate: float | None = option(
        "peak learning rate; default by algorithm", None, gt=0, on_resume="held"
    )
    optimizer: str = option(
        "a transformers optimiser name", "adamw_torch", aliases=("optim",), on_resume="held", example="sgd"
    )
    lr_scheduler: str = option(
        "a transformers schedule name",
        "linear",
        aliases=("lr_scheduler_type",),
        source="transformers",
        on_resume="changes",
        example="cosine",
    )
    lr_scheduler_kwargs: dict[str, Any] | None = option(
        "settings of the schedule, by transformers' names: num_cycles, power, num_decay_steps, ...",
        None,
        off="the schedule's own defaults",
        on_resume="changes",
        example={"num_cycles": 1.5},
        beside={"optim.lr_scheduler": "cosine"},
    )
    min_learning_rate: float | None = ours(
        "learning rate that the schedule ends at, for schedules that have one: cosine_with_min_lr, "
        "cosine_warmup_with_min_lr, polynomial, reduce_lr_on_plateau",
        None,
        aliases=("min_lr",),
        ge=0,
        off="the schedule's own end",
        through="optim.lr_scheduler_kwargs",
        on_resume="changes",
    )
    warmup_steps: int | None = option(
        "steps of linear warm-up",
        None,
        ge=0,
        off="warmup_ratio decides (where rows are packed)",
        on_resume="changes",
    )
    warmup_ratio: float = option(
        "share of the steps that warm up, 0..1; warmup_steps wins",
        0.0,
        ge=0,
        le=1,
        beside={"optim.max_steps": 20},
        alone=True,
        on_resume="changes",
    )
    weight_decay: float = option("decoupled weight decay", 0.0, ge=0, on_resume="held")
    max_grad_norm: float = option(
        "gradient norm clip; 0: no clipping", 1.0, ge=0, source="transformers", on_resume="changes"
    )
    adam_beta1: float = option("AdamW beta 1", 0.9, ge=0, lt=1, on_resume="held")
    adam_beta2: float = option("AdamW beta 2", 0.999, ge=0, lt=1, on_resume="held")
    adam_epsilon: float = option("AdamW epsilon", 1e-8, gt=0, on_resume="held")
    loraplus_lr_ratio: float | None = option(
        "LoRA+ (https://arxiv.org/abs/2402.12354): the adapter's B matrices, and its biases, learn this many times "
        "as fast as its A matrices; adapters on embeddings learn at 1e-6",
        None,
        aliases=("lorap_lr_ratio",),
        gt=0,
        off="one learning rate for all",
        on_resume="held",
        example=16.0,
    )
    neftune_noise_alpha: float | None = option(
        "NEFTune (https://arxiv.org/abs/2310.05914): noise on the embeddings while training, of this size before "
        "it is divided by the root of tokens times width",
        None,
        aliases=("noisy_embedding_alpha",),
        only="supervised",
        gt=0,
        off="no noise",
        on_resume="changes",
        example=5.0,
    )
    num_epochs: float | None = option(
        "passes over the rows; default by algorithm",
        None,
        aliases=("num_train_epochs", "epochs"),
        gt=0,
        beside={"optim.max_steps": None},
        alone=True,
        on_resume="changes",
    )
    max_steps: int | None = option(
        "optimiser steps (PPO: updates); -1 or unset: num_epochs decides",
        None,
        ge=1,
        off="num_epochs decides (where rows are packed)",
        on_resume="changes",
    )
    batch_size: int = option(
        "rows a device and micro-batch",
        8,
        aliases=("per_device_train_batch_size",),
        ge=1,
        source="transformers",
        on_resume="changes",
    )
    eval_batch_size: int | None = option(
        "rows a device in evaluation; unset: batch_size",
        None,
        aliases=("per_device_eval_batch_size",),
        ge=1,
        on_resume="free",
    )
    gradient_accumulation_steps: int = option(
        "micro-batches an optimiser step, as one process would have", 1, ge=1, on_resume="changes"
    )
    gradient_checkpointing: bool | Literal["auto", "unsloth"] = option(
        "recompute activations in the backward pass; auto: on where the device is not a CPU",
        "auto",
        aliases=("use_gradient_checkpointing",),
        on_resume="free",
    )
    gradient_checkpointing_kwargs: dict[str, Any] | None = option(
        "arguments of torch.utils.checkpoint; use_reentrant is False where it is not among them",
        None,
        off="use_reentrant=False",
        on_resume="free",
        example={"use_reentrant": True},
        beside={"optim.gradient_checkpointing": True},
    )
    activation_offloading: bool = option("keep activations in host memory", False, on_resume="free")
    torch_compile: bool = option("compile the model with torch.compile", False, on_resume="free")
    use_liger_kernel: bool = option("liger's fused kernels", False, on_resume="free")
    tf32: bool | None = option(
        "TF32 matrix products on CUDA", None, off="torch's default", on_resume="changes"
    )

    @field_validator("gradient_checkpointing_kwargs")
    @classmethod
    def _not_reentrant(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return {"use_reentrant": False, **value} if value is not None else None

    @field_validator("lr_scheduler_kwargs")
    @classmethod
    def _none_is_not_empty(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return value or None
