"""Before weights: the device, the tokenizer, and what TRL would make of a configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aligntune_core import Device, Prepared
from aligntune_core.config.keywords import named
from aligntune_core.errors import ConfigError
from aligntune_core.run.topology import world_size
from aligntune_core.wording import did_you_mean, listed
from aligntune_trl import table
from aligntune_trl.algorithms.recipe import RECIPES, Recipe
from aligntune_trl.quiet import known_warnings_hidden

if TYPE_CHECKING:
    from aligntune_core.config import Config

DISTRIBUTIONS = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "tokenizers",
)


def prepare(config: Config) -> Prepared:
    """Judge the device and load the tokenizer.

    Raises:
        ConfigError: the model is not there, or has no tokenizer.
    """
    from aligntune_core.entrypoints import versions
    from aligntune_core.model.device import torch_device
    from aligntune_core.model.source import check_model
    from aligntune_core.model.tokenizer import check_ends, load_tokenizer

    check_model(config.model)
    device = torch_device()
    tokenizer = load_tokenizer(config.model)
    check_ends(config.model, tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # as TRL does; padding never enters a loss
    return Prepared(
        device=device,
        tokenizer=tokenizer,
        versions=versions(DISTRIBUTIONS),
    )


def planned(config: Config, device: Device, backend: str = "trl") -> Mapping[str, Any]:
    """What TRL, transformers, peft and bitsandbytes would use, read back from their own argument objects.

    Raises:
        ConfigError: something cannot be run; nothing heavy has been loaded.
    """
    from aligntune_trl import refuse
    from aligntune_trl.model import adapter, load, source

    found = source.find(config)
    refuse.refuse(config, device, found, backend)
    values: dict[str, Any] = {}
    if config.algorithm in RECIPES:
        args = training_arguments(config, device)
        check_optimizer(args)
        values |= read_arguments(config, args)
    values |= table.read(config, "load", load.load_arguments(config))
    if config.model.quantization is not None:
        values |= table.read(config, "quantization", load.quantization_config(config))
    if config.peft.enabled and not refuse.continued(config, found):
        values |= table.read(config, "lora", adapter.lora_config(config))
        if config.peft.init == "loftq":
            del values["peft.init"]  # applied to the built adapter, and read from it
        if adapter.spelt_out(config):
            del values["peft.target_modules"]
    values["peft.merge_adapter"] = found.adapter_config is not None and not refuse.continued(config, found)
    return values


def training_arguments(config: Any, device: Device) -> Any:
    """TRL's argument object of this algorithm, every field that touches maths or schedule given explicitly."""
    check_names(config)
    check_trackers(config.run.report_to)
    recipe = RECIPES[config.algorithm]
    argument_class = _argument_class(recipe)
    values = table.write(config, "args") | _parameters(config, argument_class)
    values |= _fixed(config, device) | dict(recipe.fixed)
    if config.run.metric_for_best_model is not None:
        values["metric_for_best_model"] = table.metric_of(config.algorithm, config.run.metric_for_best_model)
    elif config.run.save_strategy == "best":
        values["metric_for_best_model"] = (
            "eval_loss"  # transformers has a default only where the best is loaded
        )
    if config.optim.warmup_steps is None:
        values["warmup_steps"] = config.optim.warmup_ratio  # below 1: a share of the steps
    with known_warnings_hidden():
        args = argument_class(**values)
    if args.n_gpu > 1 and "WORLD_SIZE" not in os.environ:
        args._n_gpu = 1  # without a launcher transformers would take nn.DataParallel and multiply the batch
    return args


def _argument_class(recipe: Recipe) -> Any:
    module, _, name = recipe.arguments.rpartition(":")
    return getattr(import_module(module or "trl"), name)


def read_arguments(config: Any, args: Any) -> dict[str, Any]:
    """An argument object in our vocabulary."""
    values = table.read(config, "args", args)
    if config.optim.warmup_steps is None:
        del values["optim.warmup_steps"]
        values["optim.warmup_ratio"] = args.warmup_steps
    best = config.run.metric_for_best_model
    if best is not None and args.metric_for_best_model == table.metric_of(config.algorithm, best):
        values["run.metric_for_best_model"] = best
    values |= {
        f"parameters.{name}": _parameter_back(name, getattr(args, name)) for name in _parameter_names(config)
    }
    return values


def _parameter_names(config: Any) -> list[str]:
    return list(type(config.parameters).model_fields)


def _parameters(config: Any, argument_class: Any) -> dict[str, Any]:
    """The algorithm's own parameters; core named them as TRL does."""
    values = {name: getattr(config.parameters, name) for name in _parameter_names(config)}
    if config.algorithm == "sft" and values["loss_type"] == "nll":
        # TRL's default is this loss, in the least memory that the version has: "chunked_nll" before 1.15.
        values["loss_type"] = argument_class.__dataclass_fields__["loss_type"].default
    if values.get("steps_per_generation") is not None:  # counts for the whole run, as the accumulation does
        values["steps_per_generation"] //= world_size()
    return values


def _parameter_back(name: str, value: Any) -> Any:
    if name == "steps_per_generation":
        return value * world_size()
    return "nll" if name == "loss_type" and value in (None, "chunked_nll") else value


def _fixed(config: Any, device: Device) -> dict[str, Any]:
    """Arguments that core serves, and those that other backends' classes may default differently."""
    sft = (
        {"assistant_only_loss": False, "eval_packing": None, "shuffle_dataset": False}
        if config.algorithm == "sft"
        else {}
    )
    return {
        "output_dir": str(config.run.output_dir),
        "seed": config.run.seed,
        "use_cpu": device.kind == "cpu",
        "dataloader_pin_memory": device.kind != "cpu",
        "gradient_checkpointing_kwargs": {"use_reentrant": False}
        if config.optim.gradient_checkpointing
        else None,
        "average_tokens_across_devices": True,
        "label_smoothing_factor": 0.0,
        "dataloader_drop_last": False,
        "remove_unused_columns": True,
        "pad_to_multiple_of": None,
        "logging_strategy": "steps",
        "logging_first_step": False,
        "logging_nan_inf_filter": False,  # core stops the run at a loss that is no number
        "torch_empty_cache_steps": None,
        "save_only_model": False,
        "disable_tqdm": True,  # core draws the progress
        "push_to_hub": False,
        **sft,
    }


def check_names(config: Any) -> None:
    """Optimiser and schedule are names of transformers, and the schedule needs no settings that we do not have.

    Raises:
        ConfigError: with the nearest name.
    """
    import torch
    from transformers import SchedulerType, get_scheduler
    from transformers.training_args import OptimizerNames

    for path, known in (("optim.optimizer", OptimizerNames), ("optim.lr_scheduler", SchedulerType)):
        name, names = table.value_at(config, path), [member.value for member in known]
        if name not in names:
            raise ConfigError(
                f"{named(path)}: there is no {name!r}.{did_you_mean(name, names)} Known: {listed(names)}."
            )
    probe = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    try:
        get_scheduler(config.optim.lr_scheduler, probe, num_warmup_steps=0, num_training_steps=1)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{named('optim.lr_scheduler')}: {config.optim.lr_scheduler!r} needs settings that are not offered "
            f'({error}); take "linear", "cosine", "constant_with_warmup" or "constant"'
        ) from error


def check_optimizer(args: Any) -> None:
    """The optimiser's library is there, and it needs no settings that we do not have.

    Raises:
        ConfigError: with the library's reason.
    """
    from transformers import Trainer

    try:
        Trainer.get_optimizer_cls_and_kwargs(args)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{named('optim.optimizer')}: {args.optim.value!r} cannot be used here: {error}"
        ) from error


def check_trackers(names: Sequence[str]) -> None:
    """Each tracker of ``report_to`` is known and installed; their constructors look for the library and no more.

    Raises:
        ConfigError: with the library's reason.
    """
    from transformers.integrations import get_reporting_integration_callbacks

    try:
        for callback in get_reporting_integration_callbacks(list(names)):
            callback()
    except (ImportError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"{named('run.report_to')}: {listed(names)} cannot be used here: {error}"
        ) from error
