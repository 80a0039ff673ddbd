"""What device, libraries and model rule out, told before any weights load. What needs none of them: ``problems``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aligntune_core import Device
from aligntune_core.toolkit import ConfigError, did_you_mean, listed, named, value_at
from aligntune_trl.model import loraplus
from aligntune_trl.model import problems as model_problems
from aligntune_trl.state import State


def refuse(config: Any, device: Device, state: State) -> None:
    """Check a resolved configuration against device, libraries and model.

    Raises:
        ConfigError: all problems at once.
    """
    problems = [
        *_device_problems(config, device),
        *_callback_problems(config),
        *_checkpointing_problems(config),
        *_name_problems(config),
        *_tracker_problems(config),
        *model_problems.problems(config, state, device.kind),
    ]
    if problems:
        raise ConfigError(problems)


def _device_problems(config: Any, device: Device) -> Iterator[str]:
    on_cpu = device.kind == "cpu"
    if config.model.precision == "fp16" and on_cpu:
        yield 'precision="fp16" needs a GPU; on a CPU take "fp32"'
    if config.optim.tf32 and device.kind != "cuda":
        yield f"tf32 is a number format of NVIDIA GPUs; this run is on {device.kind}. Leave it out"
    if config.optim.activation_offloading and on_cpu:
        yield "activation_offloading moves activations from a GPU to host memory; on a CPU leave it out"
    placed = config.model.device_map
    places = list(placed.values()) if isinstance(placed, Mapping) else [placed]
    if on_cpu and any(isinstance(place, int) or str(place).startswith("cuda") for place in places):
        yield f"{named('model.device_map')}: {placed!r} needs a GPU; this run is on the CPU. Leave it out"


def _callback_problems(config: Any) -> Iterator[str]:
    from transformers import EarlyStoppingCallback, TrainerCallback

    run = config.run
    compared = run.metric_for_best_model is not None or run.load_best_model_at_end
    for callback in run.callbacks:
        if isinstance(callback, EarlyStoppingCallback) and (run.eval_strategy == "no" or not compared):
            yield (
                "callbacks: EarlyStoppingCallback needs held-out rows and metric_for_best_model; or give "
                "early_stopping_patience in its place"
            )
        if not isinstance(callback, TrainerCallback):
            yield (
                f"callbacks: got {type(callback).__name__} {callback!r}; pass objects of transformers.TrainerCallback"
            )


def _checkpointing_problems(config: Any) -> Iterator[str]:
    """Unknown names would be handed to the layers, most of which take any and use none."""
    from inspect import signature

    from torch.utils.checkpoint import checkpoint
    from transformers import PreTrainedModel

    # Newer versions of transformers have settings of their own: every_n_layers, offload.
    enable = getattr(PreTrainedModel, "activation_checkpointing_enable", None)
    theirs = set(signature(enable).parameters) if enable else set()
    theirs -= {"self", "activation_checkpointing_kwargs"}
    names = ({*signature(checkpoint).parameters, "preserve_rng_state"} | theirs) - {
        "function",
        "args",
        "kwargs",
    }
    for name in config.optim.gradient_checkpointing_kwargs or {}:
        if name not in names:
            yield (
                f"{named('optim.gradient_checkpointing_kwargs')}: there is no {name!r}.{did_you_mean(name, names)} "
                f"Known: {listed(sorted(names))}."
            )


def _name_problems(config: Any) -> Iterator[str]:
    """Optimiser and schedule are names of transformers, and the schedule needs no settings that we do not have."""
    import torch
    from transformers import SchedulerType, get_scheduler
    from transformers.training_args import OptimizerNames

    for path, kinds in (("optim.optimizer", OptimizerNames), ("optim.lr_scheduler", SchedulerType)):
        name, names = value_at(config, path), [member.value for member in kinds]
        if name not in names:
            yield f"{named(path)}: there is no {name!r}.{did_you_mean(name, names)} Known: {listed(names)}."
            if path == "optim.lr_scheduler":
                return
    probe = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.optim.learning_rate)
    schedule, settings = config.optim.lr_scheduler, config.optim.lr_scheduler_kwargs
    try:
        get_scheduler(
            schedule, probe, num_warmup_steps=0, num_training_steps=1, scheduler_specific_kwargs=settings
        )
    except (ValueError, TypeError) as reason:
        if settings:
            yield f"{named('optim.lr_scheduler_kwargs')}: {schedule!r} does not take {settings}: {reason}"
        else:
            yield (
                f"{named('optim.lr_scheduler')}: {schedule!r} needs settings ({reason}): give them as "
                'lr_scheduler_kwargs, or take "linear", "cosine", "constant_with_warmup" or "constant"'
            )


def _tracker_problems(config: Any) -> Iterator[str]:
    """Each tracker is known and installed; their constructors look for the library and no more."""
    from transformers.integrations import get_reporting_integration_callbacks

    names = config.run.report_to
    try:
        for callback in get_reporting_integration_callbacks(list(names)):
            callback()
    except (ImportError, RuntimeError, ValueError) as reason:
        yield f"{named('run.report_to')}: {listed(names)} cannot be used here: {reason}"


def refuse_optimizer(args: Any, config: Any) -> None:
    """The optimiser's library is there, it needs no settings that we do not have, and takes the groups of LoRA+.

    Raises:
        ConfigError: with the library's reason.
    """
    from transformers import Trainer

    try:
        optimizer, arguments = Trainer.get_optimizer_cls_and_kwargs(args)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{named('optim.optimizer')}: {args.optim.value!r} cannot be used here: {error}"
        ) from error
    if config.optim.loraplus_lr_ratio is not None and (why := loraplus.problem(optimizer, arguments)):
        raise ConfigError(f"loraplus_lr_ratio: optimizer {args.optim.value!r} cannot have it, {why}")
