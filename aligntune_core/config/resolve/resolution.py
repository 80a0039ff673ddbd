"""From a configuration to one without open questions: what an adapter, a device and the number of rows decide."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aligntune_core.algorithms import Batch, find
from aligntune_core.config.keywords import tree
from aligntune_core.config.read.build import paths
from aligntune_core.config.record import CHECKPOINT, MANIFEST, written
from aligntune_core.config.resolve.intervals import resolve_intervals
from aligntune_core.config.resolve.schedules import check_steps, floor
from aligntune_core.config.schema.sections import Config
from aligntune_core.config.schema.weights import Quantization
from aligntune_core.errors import ConfigError
from aligntune_core.fields import extra_of
from aligntune_core.types import Device
from aligntune_core.wording import listed

_log = logging.getLogger("aligntune")

QUANTIZATION = "model.quantization"
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_SHARED = ("r", "target_modules", "bias", "use_rslora", "use_dora", "modules_to_save", "layers_to_transform")
# Field of the section peft -> its name in an adapter_config.json.
ADAPTER = {"alpha": "lora_alpha", "dropout": "lora_dropout", **{name: name for name in _SHARED}}


def continued(config: Config, adapter: Mapping[str, Any] | None) -> Config:
    """The configuration with a continued adapter's values (``adapter_config.json``) where none was asked for."""
    if adapter is None or not config.peft.enabled or config.peft.merge_adapter:
        return config
    chosen = written(config)
    for field, name in ADAPTER.items():
        if name in adapter and f"peft.{field}" not in chosen:
            value = adapter[name]
            if field == "target_modules" and isinstance(value, list):
                value = sorted(value)  # peft writes a set, in any order
            config = config.decided(f"peft.{field}", value, "resolved: of the adapter that is continued")
    if not any(path.startswith(QUANTIZATION) for path in chosen) and (base := _base_format(config)):
        file, values = base
        _log.info("the base is loaded in the format that the adapter was trained on: %s (%s)", values, file)
        source = f"resolved: of the run whose adapter is continued, {file}"
        config = config.decided(QUANTIZATION, Quantization.model_validate(values), source)
    return config


def _base_format(config: Config) -> tuple[Path, dict[str, Any]] | None:
    """How the run that left this adapter quantised its base: on other weights the adapter is another model."""
    if not isinstance(config.model.name, (str, os.PathLike)):
        return None
    folder = Path(config.model.name)
    for place in (folder, folder.parent) if folder.name.startswith(CHECKPOINT) else (folder,):
        if (file := place / MANIFEST).is_file():
            values = _model_of(file).get("quantization")
            return (file, values) if values else None
    return None


def _model_of(manifest: Path) -> dict[str, Any]:
    try:
        model: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))["config"]["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{manifest} is not what a run leaves ({type(error).__name__}: {error}); it tells how the base of this "
            "adapter was loaded. Mend it, or take it out of the folder"
        ) from error
    return model


def resolve(config: Config, device: Device) -> Config:
    """Decide what depends on the device: no "auto" is left, and None only where a field documents it as off.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    model, optim = config.model, config.optim
    precision: Any = model.precision
    if precision == "auto":
        precision = "bf16" if device.bf16 else "fp32"
        reason = f"resolved: {device.kind} {'has' if device.bf16 else 'has no'} native bf16"
        config = config.decided("model.precision", precision, reason)
    if precision == "fp16" and device.kind == "cpu":
        raise ConfigError('precision="fp16" does not train on a CPU: write "fp32", or "auto"')
    if optim.gradient_checkpointing == "auto":
        recompute = device.kind != "cpu"
        config = config.decided("optim.gradient_checkpointing", recompute, f"resolved: device {device.kind}")
    if model.quantization and model.quantization.bnb_4bit_compute_dtype == "auto":
        path = f"{QUANTIZATION}.bnb_4bit_compute_dtype"
        config = config.decided(path, _DTYPES[precision], f"resolved: precision {precision}")
    if optim.gradient_checkpointing_kwargs and not config.optim.gradient_checkpointing:
        _log.warning("gradient_checkpointing_kwargs have no effect: gradient_checkpointing is off here")
    if (ends := floor(config)) is not None:
        reason = f"resolved: min_learning_rate={optim.min_learning_rate:g}"
        config = config.decided("optim.lr_scheduler_kwargs", ends, reason)
    if optim.warmup_steps is None and not optim.warmup_ratio:
        config = config.decided("optim.warmup_steps", 0, "resolved: no warm-up asked for")
    _check_complete(config)
    return config


def _check_complete(config: Config) -> None:
    """Refuse fields that have neither a value nor a default, such as the learning rate of an algorithm without one."""
    unset = [tree()[path] for path, value in paths(config).items() if value is None and path in tree()]
    missing = [entry.keyword for entry in unset if not extra_of(entry.info).get("off")]
    if missing:
        raise ConfigError(f"{listed(missing)}: {config.algorithm} has no default for it; give it")


def resolve_steps(config: Config, rows: int | None, world_size: int = 1) -> Config:
    """Decide what depends on the number of rows (None: a stream): ``max_steps``, ``warmup_steps`` and when a run
    evaluates and saves.

    Counts as transformers' Trainer does: the last, partial micro-batches of an epoch make a step of their own. Where
    rows are packed the library alone knows how many sequences there will be, and both may stay open.

    Raises:
        ConfigError: the processes do not divide the accumulation, the rows make no step, or the best checkpoint is to
            be loaded and would not be evaluated.
    """
    accumulation = config.optim.gradient_accumulation_steps
    if accumulation % world_size:
        below, above = accumulation // world_size * world_size, -(-accumulation // world_size) * world_size
        near = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"{world_size} processes do not divide gradient_accumulation_steps={accumulation}: take {near}, "
            "so that the global batch is that of one process"
        )
    steps, epochs = config.optim.max_steps, config.optim.num_epochs or 0.0
    if steps is None and rows is None:
        raise ConfigError("max_steps is missing: the number of rows is not known beforehand")
    updates = None
    if rows is not None and not config.data.packing:
        batch = Batch(rows, config.optim.batch_size, accumulation // world_size, world_size)
        updates = _updates(config, batch)
    if steps is None and updates is not None:
        steps = math.ceil(epochs * updates)
        if steps == 0:
            raise ConfigError(
                f"{rows} rows make no step with batch_size={config.optim.batch_size} and "
                f"gradient_accumulation_steps={accumulation}: give more rows or a smaller batch"
            )
        config = config.decided("optim.max_steps", steps, f"resolved: {epochs:g} epochs of {rows} rows")
    if config.optim.warmup_steps is None and steps is not None:
        ratio = config.optim.warmup_ratio
        reason = f"resolved: {ratio:g} of {steps} steps"
        config = config.decided("optim.warmup_steps", math.ceil(steps * ratio), reason)
    check_steps(config, steps)
    return resolve_intervals(config, steps, updates)


def _updates(config: Config, batch: Batch) -> int:
    """Optimiser steps of one epoch."""
    own = find(config.algorithm).updates_per_epoch
    if own:
        return own(config.parameters, batch)
    micro_batches = math.ceil(batch.rows / (batch.size * batch.world_size))
    return math.ceil(micro_batches / batch.accumulation)
