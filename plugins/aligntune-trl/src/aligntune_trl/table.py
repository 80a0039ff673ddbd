"""The one argument table: config path -> the library's argument, read in both directions.

Light: no import of torch or trl. A backend that drives the same libraries (unsloth) and extensions use the same table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from aligntune_core import toolkit
from aligntune_core.toolkit import Argument, Table, keep, parameter_arguments, plain, value_at, world
from aligntune_trl.algorithms.recipe import Recipe, find, imported
from aligntune_trl.quiet import known_warnings_hidden
from aligntune_trl.state import State

if TYPE_CHECKING:
    from aligntune_core import Device, Prepared

LIBRARY = "TRL"
"""What messages call it."""

DEFAULT_TIMEOUT = 1800
"""Seconds that torch's processes wait for each other on their own."""

# The parts are TRL's argument object ("args"), from_pretrained ("load"), BitsAndBytesConfig ("quantization"),
# LoraConfig ("lora") and the trainer itself ("trainer").


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else value


def _secret(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _hidden(value: Any) -> Any:
    return SecretStr(value) if isinstance(value, str) else value


def _torch_dtype(name: Any) -> Any:
    import torch

    return getattr(torch, name)


def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


INITS: Mapping[str, Any] = {"default": True, "gaussian": "gaussian", "pissa": "pissa", "loftq": True}
"""LoRA initialisations; LoftQ is applied to the built adapter, since peft's own option needs an unquantised base."""


def _init_name(value: Any) -> str:
    return "default" if value is True else str(value)


MODEL: Table = (
    Argument("model.revision", "load", "revision"),
    Argument("model.token", "load", "token", _secret, _hidden),
    Argument("model.trust_remote_code", "load", "trust_remote_code"),
    Argument("model.device_map", "load", "device_map"),
    Argument("model.attn_implementation", "load", "attn_implementation", libraries_choice=True),
    Argument(
        "model.precision",
        "args",
        ("bf16", "fp16"),
        lambda value: (value == "bf16", value == "fp16"),
        lambda bf16, fp16: "bf16" if bf16 else "fp16" if fp16 else "fp32",
    ),
    Argument("model.quantization.load_in_4bit", "quantization", "load_in_4bit"),
    Argument("model.quantization.load_in_8bit", "quantization", "load_in_8bit"),
    Argument("model.quantization.bnb_4bit_quant_type", "quantization", "bnb_4bit_quant_type"),
    Argument("model.quantization.bnb_4bit_use_double_quant", "quantization", "bnb_4bit_use_double_quant"),
    Argument(
        "model.quantization.bnb_4bit_compute_dtype",
        "quantization",
        "bnb_4bit_compute_dtype",
        _torch_dtype,
        _dtype_name,
    ),
)

PEFT: Table = (
    Argument("peft.r", "lora", "r"),
    Argument("peft.alpha", "lora", "lora_alpha"),
    Argument("peft.dropout", "lora", "lora_dropout"),
    Argument("peft.target_modules", "lora", "target_modules", back=_sorted),
    Argument("peft.bias", "lora", "bias"),
    Argument("peft.use_rslora", "lora", "use_rslora"),
    Argument("peft.use_dora", "lora", "use_dora"),
    Argument("peft.modules_to_save", "lora", "modules_to_save", back=_sorted),
    Argument("peft.layers_to_transform", "lora", "layers_to_transform", back=_sorted),
    Argument("peft.init", "lora", "init_lora_weights", INITS.__getitem__, _init_name),
)

DATA: Table = (
    Argument("data.num_proc", "args", "dataset_num_proc", only="offline"),
    Argument("data.max_seq_length", "args", "max_length"),
    Argument("data.truncation_mode", "args", "truncation_mode", only="cut", off=("keep_start",)),
    Argument(
        "data.completion_only_loss", "args", "completion_only_loss", only="supervised", off=(None, True)
    ),
    Argument("data.packing", "args", "packing", only="supervised"),
    Argument("data.packing_strategy", "args", "packing_strategy", only="supervised", off=("bfd",)),
    Argument("data.padding_free", "args", "padding_free", only="supervised"),
    Argument(
        "data.group_by_length",
        "args",
        "train_sampling_strategy",
        lambda value: "group_by_length" if value else "random",
        lambda value: plain(value) == "group_by_length",
        only="supervised",
    ),
    Argument(
        "data.shuffle",
        "args",
        "train_sampling_strategy",
        lambda value: "random" if value else "sequential",
        lambda value: plain(value) != "sequential",
        only="offline",
        off=(None, True),
    ),
)

OPTIM: Table = (
    Argument("optim.learning_rate", "args", "learning_rate"),
    Argument("optim.optimizer", "args", "optim"),
    Argument("optim.lr_scheduler", "args", "lr_scheduler_type"),
    Argument("optim.lr_scheduler_kwargs", "args", "lr_scheduler_kwargs", back=lambda value: value or None),
    # One of the two is in force, see ``rows``; below 1 the argument is a share of the steps.
    Argument("optim.warmup_steps", "args", "warmup_steps"),
    Argument("optim.warmup_ratio", "args", "warmup_steps"),
    Argument("optim.weight_decay", "args", "weight_decay"),
    Argument("optim.max_grad_norm", "args", "max_grad_norm"),
    Argument("optim.adam_beta1", "args", "adam_beta1"),
    Argument("optim.adam_beta2", "args", "adam_beta2"),
    Argument("optim.adam_epsilon", "args", "adam_epsilon"),
    Argument("optim.neftune_noise_alpha", "args", "neftune_noise_alpha", only="supervised"),
    Argument("optim.num_epochs", "args", "num_train_epochs"),
    Argument(
        "optim.max_steps",
        "args",
        "max_steps",
        lambda value: -1 if value is None else value,
        lambda value: None if value < 0 else value,
    ),
    Argument("optim.batch_size", "args", "per_device_train_batch_size"),
    Argument("optim.eval_batch_size", "args", "per_device_eval_batch_size"),
    # Ours counts for the whole run: processes share the micro-batches of a step.
    Argument(
        "optim.gradient_accumulation_steps",
        "args",
        "gradient_accumulation_steps",
        lambda value: value // world().world_size,
        lambda value: value * world().world_size,
    ),
    Argument("optim.gradient_checkpointing", "args", "gradient_checkpointing", bool),
    Argument(
        "optim.gradient_checkpointing_kwargs", "args", "gradient_checkpointing_kwargs", libraries_choice=True
    ),
    Argument("optim.activation_offloading", "args", "activation_offloading", only="offline"),
    Argument("optim.torch_compile", "args", "torch_compile"),
    Argument("optim.use_liger_kernel", "args", "use_liger_kernel"),
    Argument("optim.tf32", "args", "tf32"),
)

RUN: Table = (
    Argument("run.run_name", "args", "run_name"),
    Argument("run.data_seed", "args", "data_seed"),
    Argument("run.logging_steps", "args", "logging_steps"),
    Argument("run.logging_first_step", "args", "logging_first_step"),
    Argument("run.save_strategy", "args", "save_strategy"),
    Argument("run.save_steps", "args", "save_steps"),
    Argument("run.save_total_limit", "args", "save_total_limit"),
    Argument("run.save_only_model", "args", "save_only_model"),
    Argument("run.eval_strategy", "args", "eval_strategy"),
    Argument("run.eval_steps", "args", "eval_steps", libraries_choice=True),
    Argument("run.eval_on_start", "args", "eval_on_start"),
    Argument("run.load_best_model_at_end", "args", "load_best_model_at_end"),
    Argument("run.metric_for_best_model", "args", "metric_for_best_model", libraries_choice=True),
    Argument("run.greater_is_better", "args", "greater_is_better", libraries_choice=True),
    Argument("run.report_to", "args", "report_to", lambda value: list(value) or "none"),
    Argument("run.dataloader_num_workers", "args", "dataloader_num_workers"),
    Argument("run.ddp_timeout", "args", "ddp_timeout"),
    Argument("run.callbacks", "trainer", "callbacks", back=keep),
)

TABLE: Table = (*MODEL, *PEFT, *DATA, *OPTIM, *RUN)

# Honoured too, but no single argument: whether and on what an adapter is made, what scores completions, what ends the
# run early (a callback), and the groups of the optimiser.
REWARDS = frozenset({"rewards.functions", "rewards.weights", "rewards.model"})
EARLY_STOPPING = frozenset({"run.early_stopping_patience", "run.early_stopping_threshold"})
BESIDE_THE_TABLE = (
    frozenset({"peft.enabled", "peft.merge_adapter", "optim.loraplus_lr_ratio"}) | REWARDS | EARLY_STOPPING
)

HONOURS = frozenset(argument.path for argument in TABLE) | BESIDE_THE_TABLE


_ORDER = "train_sampling_strategy"


def rows(config: Any) -> Table:
    """The table of this configuration: with the algorithm's parameters and what its recipe has of its own."""
    recipe = find(config.algorithm)
    own = {argument.path: argument for argument in recipe.own} if recipe is not None else {}
    idle = "optim.warmup_ratio" if config.optim.warmup_steps is not None else "optim.warmup_steps"
    idles = {idle}
    # One argument of the library is the order of rows. Recipes may need one, and groups are one of their own.
    if config.data.group_by_length or (recipe is not None and _ORDER in recipe.fixed):
        idles.add("data.shuffle")
    table = [own.get(argument.path, argument) for argument in TABLE if argument.path not in idles]
    metric = config.run.metric_for_best_model
    if recipe is not None and metric is not None:
        theirs = recipe.metric(metric)
        at = next(i for i, argument in enumerate(table) if argument.path == "run.metric_for_best_model")
        table[at] = replace(table[at], to=recipe.metric, back=lambda name: metric if name == theirs else name)
    return (*table, *parameter_arguments(type(config.parameters), own=own.values()))


def write(config: Any, part: str) -> dict[str, Any]:
    """Keyword arguments of ``part`` for this configuration.

    Raises:
        ConfigError: a field is set that the library does not have for this algorithm.
    """
    return toolkit.write(rows(config), config, part, LIBRARY)


def read(config: Any, part: str, source: Any) -> dict[str, Any]:
    """What ``source`` (an object or a mapping of arguments) holds, as config path -> value."""
    return toolkit.read(rows(config), config, part, source)


# --- TRL's argument object -------------------------------------------------------------------------------------------


def planned_arguments(config: Any, prepared: Prepared) -> Any:
    """The object of ``training_arguments``, to be read; it is kept for the trainer.

    Raises:
        ConfigError: a field is set that the algorithm's argument class lacks.
    """
    recipe, values = _values(config, prepared)
    args = _made(recipe, values)
    State.of(config, prepared).arguments = (values, args)
    return args


def training_arguments(config: Any, prepared: Prepared) -> Any:
    """TRL's argument object of this algorithm, every field that touches maths or schedule given explicitly.

    Returns:
        The object that was planned; another where step counts were filled in since, or a trainer has that one already.
    """
    recipe, values = _values(config, prepared)
    state = State.of(config, prepared)
    planned, state.arguments = state.arguments, None
    if planned is not None and planned[0] == values:
        return planned[1]
    return _made(recipe, values)


def read_arguments(config: Any, args: Any) -> dict[str, Any]:
    """An argument object in our vocabulary."""
    return toolkit.read(_offered(rows(config), type(args)), config, "args", args)


def _values(config: Any, prepared: Prepared) -> tuple[Recipe, dict[str, Any]]:
    recipe = find(config.algorithm)
    assert recipe is not None, f"no recipe of {config.algorithm}"
    argument_class = imported(recipe.arguments)
    table = rows(config)
    offered = _offered(table, argument_class)
    problems = [
        f"{argument.path}: got {value!r}, but {LIBRARY} does not offer it for {config.algorithm}; leave it out"
        for argument in table
        if argument not in offered and (value := value_at(config, argument.path)) not in argument.off
    ]
    if problems:
        raise toolkit.ConfigError(problems)
    fixed = _fixed(config, prepared.device)
    common = {name: fixed[name] for name in fixed if name in argument_class.__dataclass_fields__}
    return recipe, toolkit.write(offered, config, "args", LIBRARY) | common | dict(recipe.fixed)


def _offered(table: Table, argument_class: Any) -> Table:
    """The rows that the class has an argument for. It must have the parameters: else the recipe is at fault."""
    fields = argument_class.__dataclass_fields__

    def has(name: str | tuple[str, ...]) -> bool:
        return name in fields if isinstance(name, str) else set(name) <= set(fields)

    return tuple(
        argument
        for argument in table
        if argument.part != "args" or argument.path.startswith("parameters.") or has(argument.name)
    )


def _made(recipe: Recipe, values: Mapping[str, Any]) -> Any:
    apart = _intervals_apart(values)
    with known_warnings_hidden():
        _set_patience(values)
        args = imported(recipe.arguments)(**{**values, **dict.fromkeys(apart, 1)})
    for name, value in apart.items():
        setattr(args, name, value)
    if args.n_gpu > 1 and "WORLD_SIZE" not in os.environ:
        args._n_gpu = 1  # without a launcher transformers would take nn.DataParallel and multiply the batch
    return args


def _set_patience(values: Mapping[str, Any]) -> None:
    """Have processes on CPUs wait as long as asked for: transformers gives its timeout to those on GPUs alone.

    The group that is made here is the one that transformers then uses.
    """
    if world().world_size == 1 or not values["use_cpu"] or values["ddp_timeout"] == DEFAULT_TIMEOUT:
        return
    from accelerate import PartialState

    PartialState(cpu=True, timeout=timedelta(seconds=values["ddp_timeout"]))


def _intervals_apart(values: Mapping[str, Any]) -> dict[str, Any]:
    """Intervals that the class would not take together, though it will be asked for others.

    For the best checkpoint to be known each has to be evaluated. Core sees to that when it has counted the steps; until
    then a share, and what stands for a number an epoch, has no multiple.
    """
    saved, evaluated = values.get("save_steps"), values.get("eval_steps")
    if not values.get("load_best_model_at_end") or not saved or not evaluated or not saved % evaluated:
        return {}
    return {"save_steps": saved, "eval_steps": evaluated}


def _checkpointing(config: Any) -> dict[str, Any] | None:
    """Arguments of torch's checkpointing: those asked for, else the one that the contract has."""
    asked: dict[str, Any] | None = config.optim.gradient_checkpointing_kwargs
    if asked is not None:
        return dict(asked)  # TRL writes into it
    return {"use_reentrant": False} if config.optim.gradient_checkpointing else None


def _fixed(config: Any, device: Device) -> dict[str, Any]:
    """Arguments that core serves, and those that other backends' classes may default differently."""
    # transformers has a default of it only where the best is loaded.
    compared = config.run.save_strategy == "best" or config.run.early_stopping_patience is not None
    by_loss = compared and config.run.metric_for_best_model is None
    return {
        "output_dir": str(config.run.output_dir),
        "seed": config.run.seed,
        "use_cpu": device.kind == "cpu",
        "dataloader_pin_memory": device.kind != "cpu",
        "gradient_checkpointing_kwargs": _checkpointing(config),
        "average_tokens_across_devices": True,
        "label_smoothing_factor": 0.0,
        "dataloader_drop_last": False,
        "remove_unused_columns": True,
        "pad_to_multiple_of": None,
        "logging_strategy": "steps",
        "logging_nan_inf_filter": False,  # core stops the run at a loss that is no number
        "torch_empty_cache_steps": None,
        "disable_tqdm": True,  # core draws the progress
        "push_to_hub": False,
        **({"metric_for_best_model": "eval_loss"} if by_loss else {}),
    }
