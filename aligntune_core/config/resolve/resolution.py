"""From a configuration to one without open questions: first for a device, then for a number of rows."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from aligntune_core.algorithms import Batch, find
from aligntune_core.config.schema.sections import (
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    PeftConfig,
    Quantization,
    RunConfig,
    Strategy,
)
from aligntune_core.errors import ConfigError
from aligntune_core.fields import option
from aligntune_core.types import Device

ResolvedPrecision = Literal["bf16", "fp16", "fp32"]
_DTYPES: dict[ResolvedPrecision, Literal["bfloat16", "float16", "float32"]] = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
}


class ResolvedQuantization(Quantization):
    """Quantization with its dtype decided."""

    bnb_4bit_compute_dtype: Annotated[
        Literal["bfloat16", "float16", "float32"], option("dtype of matrix products")
    ] = "float32"


class ResolvedModel(ModelConfig):
    """ModelConfig with its precision decided."""

    precision: Annotated[ResolvedPrecision, option("number format")]
    quantization: Annotated[ResolvedQuantization | None, option("weight format", off="not quantised")] = None


class ResolvedPeft(PeftConfig):
    """PeftConfig that says whether there is an adapter, and on what."""

    enabled: Annotated[bool, option("train a LoRA adapter")]
    target_modules: Annotated[str | list[str], option("module names, a regex, or all-linear")]


class ResolvedData(DataConfig):
    """DataConfig with the loss mask decided."""

    completion_only_loss: Annotated[bool, option("loss on the completion only, where rows have one")]


class ResolvedOptim(OptimConfig):
    """OptimConfig with numbers in it; step counts where ``resolve_steps`` could tell."""

    learning_rate: Annotated[float, option("peak learning rate")]
    num_epochs: Annotated[float, option("passes over the rows")]
    eval_batch_size: Annotated[int, option("rows a device in evaluation")]
    gradient_checkpointing: Annotated[bool | Literal["unsloth"], option("recompute activations")]


class ResolvedRun(RunConfig):
    """RunConfig with its folder, seed of the data and evaluation decided."""

    output_dir: Annotated[str, option("run folder")]
    data_seed: Annotated[int, option("seed of the order of samples")]
    eval_strategy: Annotated[Strategy, option("when held-out rows are evaluated")]
    eval_steps: Annotated[int, option("steps between evaluations")]


class ResolvedConfig(Config):
    """A configuration without "auto"; ``None`` only where a field documents it as off."""

    model: ResolvedModel
    peft: ResolvedPeft
    data: ResolvedData
    optim: ResolvedOptim
    run: ResolvedRun


def resolve(config: Config, device: Device) -> ResolvedConfig:
    """Decide what depends on the device.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    reasons: dict[str, str] = {}
    precision: Any = config.model.precision
    if precision == "auto":
        precision = "bf16" if device.bf16 else "fp32"
        reasons["model.precision"] = (
            f"resolved: {device.kind} {'has' if device.bf16 else 'has no'} native bf16"
        )
    if precision == "fp16" and device.kind == "cpu":
        raise ConfigError('precision="fp16" does not train on a CPU: write "fp32", or "auto"')
    checkpointing: Any = config.optim.gradient_checkpointing
    if checkpointing == "auto":
        checkpointing = device.kind != "cpu"
        reasons["optim.gradient_checkpointing"] = f"resolved: device {device.kind}"
    quantization: dict[str, Any] | None = None
    if config.model.quantization:
        quantization = dict(config.model.quantization)
        if quantization["bnb_4bit_compute_dtype"] == "auto":
            quantization["bnb_4bit_compute_dtype"] = _DTYPES[precision]
            reasons["model.quantization.bnb_4bit_compute_dtype"] = f"resolved: precision {precision}"
    optim = {**dict(config.optim), "gradient_checkpointing": checkpointing}
    if optim["warmup_steps"] is None and not config.optim.warmup_ratio:
        optim["warmup_steps"] = 0
        reasons["optim.warmup_steps"] = "resolved: no warm-up asked for"
    resolved = ResolvedConfig(
        **{
            **dict(config),
            "model": ResolvedModel(
                **{**dict(config.model), "precision": precision, "quantization": quantization}
            ),
            "peft": ResolvedPeft(**dict(config.peft)),
            "data": ResolvedData(**dict(config.data)),
            "optim": ResolvedOptim(**optim),
            "run": ResolvedRun(**dict(config.run)),
        }
    )
    return _told(resolved, config, reasons)


def resolve_steps(config: ResolvedConfig, rows: int | None, world_size: int = 1) -> ResolvedConfig:
    """Decide what depends on the number of rows: ``max_steps`` and ``warmup_steps``.

    Counts as transformers' Trainer does: the last, partial micro-batches of an epoch make a step of their own. Where
    rows are packed the library alone knows how many sequences there will be, and both may stay open.

    Args:
        config: resolved for the device.
        rows: training rows; None for a stream, which needs ``max_steps``.
        world_size: processes that train together.

    Raises:
        ConfigError: the processes do not divide the accumulation, or the rows make no step.
    """
    accumulation = config.optim.gradient_accumulation_steps
    if accumulation % world_size:
        below, above = accumulation // world_size * world_size, -(-accumulation // world_size) * world_size
        near = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"{world_size} processes do not divide gradient_accumulation_steps={accumulation}: take {near}, "
            "so that the global batch is that of one process"
        )
    reasons: dict[str, str] = {}
    steps = config.optim.max_steps
    if steps is None and rows is None:
        raise ConfigError("max_steps is missing: the number of rows is not known beforehand")
    if steps is None and rows is not None and not config.data.packing:
        batch = Batch(rows, config.optim.batch_size, accumulation // world_size, world_size)
        steps = math.ceil(config.optim.num_epochs * _updates(config, batch))
        if steps == 0:
            raise ConfigError(
                f"{rows} rows make no step with batch_size={batch.size} and "
                f"gradient_accumulation_steps={accumulation}: give more rows or a smaller batch"
            )
        reasons["optim.max_steps"] = f"resolved: {config.optim.num_epochs:g} epochs of {rows} rows"
    warmup = config.optim.warmup_steps
    if warmup is None and steps is not None:
        warmup = math.ceil(steps * config.optim.warmup_ratio)
        reasons["optim.warmup_steps"] = f"resolved: {config.optim.warmup_ratio:g} of {steps} steps"
    optim = config.optim.model_copy(update={"max_steps": steps, "warmup_steps": warmup})
    return _told(config.model_copy(update={"optim": optim}), config, reasons)


def _updates(config: ResolvedConfig, batch: Batch) -> int:
    """Optimiser steps of one epoch."""
    own = find(config.algorithm).updates_per_epoch
    if own:
        return own(config.parameters, batch)
    micro_batches = math.ceil(batch.rows / (batch.size * batch.world_size))
    return math.ceil(micro_batches / batch.accumulation)


def _told(resolved: ResolvedConfig, config: Config, reasons: dict[str, str]) -> ResolvedConfig:
    """Carry over where values came from, and add what was decided now."""
    resolved._sources = {**config._sources, **reasons}
    resolved._defaults = dict(config._defaults)
    return resolved
