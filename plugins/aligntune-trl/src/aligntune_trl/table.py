"""The one argument table: config path -> the library's argument, read in both directions.

Light: no import of torch or trl. ``write`` turns configuration into keyword arguments of the library's own objects;
``read`` turns such an object back into config paths and values. A backend that drives the same libraries (unsloth) uses
the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SecretStr

from aligntune_core.errors import ConfigError
from aligntune_core.run.topology import world_size

Part = Literal["args", "load", "quantization", "lora", "trainer"]
"""The object it goes to: TrainingArguments, from_pretrained, BitsAndBytesConfig, LoraConfig, the trainer."""

Getter = Callable[[str], Any]


@dataclass(frozen=True)
class Argument:
    """How one config path is applied and read back.

    Attributes:
        part: the object that takes it.
        write: value -> keyword arguments of that object.
        read: getter of that object's attributes -> value.
        algorithms: those whose library class has the argument; None: all.
        off: what a value means the same as "not set" for the algorithms that lack it.
        libraries_choice: whether None leaves the choice to the library, so that None has no value to compare with.
    """

    part: Part
    write: Callable[[Any], dict[str, Any]]
    read: Callable[[Getter], Any]
    algorithms: frozenset[str] | None = None
    off: tuple[Any, ...] = (None, False)
    libraries_choice: bool = False


def _keep(value: Any) -> Any:
    return value


def _plain(value: Any) -> Any:
    """An enum of transformers as the string it stands for."""
    return getattr(value, "value", value)


def _as_list(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else value


def _argument(
    part: Part,
    name: str,
    to: Callable[[Any], Any] = _keep,
    back: Callable[[Any], Any] = _plain,
    **more: Any,
) -> Argument:
    return Argument(part, write=lambda value: {name: to(value)}, read=lambda get: back(get(name)), **more)


def _args(
    name: str, to: Callable[[Any], Any] = _keep, back: Callable[[Any], Any] = _plain, **more: Any
) -> Argument:
    return _argument("args", name, to, back, **more)


def _read_precision(get: Getter) -> str:
    return "bf16" if get("bf16") else "fp16" if get("fp16") else "fp32"


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


SFT = frozenset({"sft"})
OFFLINE = frozenset({"sft", "dpo", "reward"})
CUT = frozenset({"sft", "dpo"})
"""Those that cut long rows; the others refuse or drop them."""

MODEL: dict[str, Argument] = {
    "model.revision": _argument("load", "revision"),
    "model.token": _argument("load", "token", _secret, _hidden),
    "model.trust_remote_code": _argument("load", "trust_remote_code"),
    "model.device_map": _argument("load", "device_map"),
    "model.attn_implementation": _argument("load", "attn_implementation", libraries_choice=True),
    "model.precision": Argument(
        "args", write=lambda value: {"bf16": value == "bf16", "fp16": value == "fp16"}, read=_read_precision
    ),
    "model.quantization.load_in_4bit": _argument("quantization", "load_in_4bit"),
    "model.quantization.load_in_8bit": _argument("quantization", "load_in_8bit"),
    "model.quantization.bnb_4bit_quant_type": _argument("quantization", "bnb_4bit_quant_type"),
    "model.quantization.bnb_4bit_use_double_quant": _argument("quantization", "bnb_4bit_use_double_quant"),
    "model.quantization.bnb_4bit_compute_dtype": _argument(
        "quantization", "bnb_4bit_compute_dtype", _torch_dtype, _dtype_name
    ),
}

PEFT: dict[str, Argument] = {
    "peft.r": _argument("lora", "r"),
    "peft.alpha": _argument("lora", "lora_alpha"),
    "peft.dropout": _argument("lora", "lora_dropout"),
    "peft.target_modules": _argument("lora", "target_modules", back=_as_list),
    "peft.bias": _argument("lora", "bias"),
    "peft.use_rslora": _argument("lora", "use_rslora"),
    "peft.use_dora": _argument("lora", "use_dora"),
    "peft.modules_to_save": _argument("lora", "modules_to_save", back=_as_list),
    "peft.layers_to_transform": _argument("lora", "layers_to_transform", back=_as_list),
    "peft.init": _argument("lora", "init_lora_weights", INITS.__getitem__, _init_name),
}

DATA: dict[str, Argument] = {
    "data.num_proc": _args("dataset_num_proc", algorithms=OFFLINE),
    "data.max_seq_length": _args("max_length"),
    "data.truncation_mode": _args("truncation_mode", algorithms=CUT, off=("keep_start",)),
    "data.completion_only_loss": _args("completion_only_loss", algorithms=SFT, off=(None, True)),
    "data.packing": _args("packing", algorithms=SFT),
    "data.packing_strategy": _args("packing_strategy", algorithms=SFT, off=("bfd",)),
    "data.padding_free": _args("padding_free", algorithms=SFT),
    "data.group_by_length": _args(
        "train_sampling_strategy",
        lambda value: "group_by_length" if value else "random",
        lambda value: _plain(value) == "group_by_length",
        algorithms=SFT,
    ),
}

OPTIM: dict[str, Argument] = {
    "optim.learning_rate": _args("learning_rate"),
    "optim.optimizer": _args("optim"),
    "optim.lr_scheduler": _args("lr_scheduler_type"),
    "optim.warmup_steps": _args("warmup_steps"),
    "optim.weight_decay": _args("weight_decay"),
    "optim.max_grad_norm": _args("max_grad_norm"),
    "optim.adam_beta1": _args("adam_beta1"),
    "optim.adam_beta2": _args("adam_beta2"),
    "optim.adam_epsilon": _args("adam_epsilon"),
    "optim.num_epochs": _args("num_train_epochs"),
    "optim.max_steps": _args(
        "max_steps", lambda value: -1 if value is None else value, lambda value: None if value < 0 else value
    ),
    "optim.batch_size": _args("per_device_train_batch_size"),
    "optim.eval_batch_size": _args("per_device_eval_batch_size"),
    # Ours counts for the whole run: processes share the micro-batches of a step.
    "optim.gradient_accumulation_steps": _args(
        "gradient_accumulation_steps",
        lambda value: value // world_size(),
        lambda value: value * world_size(),
    ),
    "optim.gradient_checkpointing": _args("gradient_checkpointing", bool),
    "optim.activation_offloading": _args("activation_offloading", algorithms=OFFLINE),
    "optim.torch_compile": _args("torch_compile"),
    "optim.use_liger_kernel": _args("use_liger_kernel"),
    "optim.tf32": _args("tf32"),
}

RUN: dict[str, Argument] = {
    "run.run_name": _args("run_name"),
    "run.data_seed": _args("data_seed"),
    "run.logging_steps": _args("logging_steps"),
    "run.save_strategy": _args("save_strategy"),
    "run.save_steps": _args("save_steps"),
    "run.save_total_limit": _args("save_total_limit"),
    "run.eval_strategy": _args("eval_strategy"),
    "run.eval_steps": _args("eval_steps", libraries_choice=True),
    "run.load_best_model_at_end": _args("load_best_model_at_end"),
    "run.metric_for_best_model": _args("metric_for_best_model", libraries_choice=True),
    "run.greater_is_better": _args("greater_is_better", libraries_choice=True),
    "run.report_to": _args("report_to", lambda value: list(value) or "none"),
    "run.dataloader_num_workers": _args("dataloader_num_workers"),
    "run.callbacks": _argument("trainer", "callbacks", back=_keep),
}

TABLE: dict[str, Argument] = {**MODEL, **PEFT, **DATA, **OPTIM, **RUN}

# Honoured too, but no single argument: whether and on what an adapter is made, what becomes warm-up steps, and what
# scores completions.
REWARDS = frozenset({"rewards.functions", "rewards.weights", "rewards.model"})
BESIDE_THE_TABLE = frozenset({"peft.enabled", "peft.merge_adapter", "optim.warmup_ratio"}) | REWARDS

HONOURS = frozenset(TABLE) | BESIDE_THE_TABLE


def value_at(config: Any, path: str) -> Any:
    """The value at a dotted path; None where a section on the way is None."""
    for name in path.split("."):
        if config is None:
            return None
        config = getattr(config, name)
    return config


# What each algorithm's evaluation gives: our name, or TRL's own, -> TRL's. Online ones name figures after rewards.
_OF_ALL = ("loss", "runtime", "samples_per_second", "steps_per_second", "num_tokens", "entropy", "aux_loss")
_OF_DPO = ("mean_token_accuracy", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins",
           "logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected")  # fmt: skip
_OF_REWARD = ("accuracy", "margin", "min_reward", "mean_reward", "max_reward")
METRICS: Mapping[str, Mapping[str, str]] = {
    "sft": {n: n for n in (*_OF_ALL, "mean_token_accuracy")}
    | {"token_accuracy": "mean_token_accuracy", "perplexity": "loss"},  # grows with the loss: the same best
    "dpo": {n: n for n in (*_OF_ALL, *_OF_DPO)}
    | {"reward_accuracy": "rewards/accuracies", "reward_margin": "rewards/margins"},
    "reward": {n: n for n in (*_OF_ALL, *_OF_REWARD)}
    | {"reward_accuracy": "accuracy", "reward_margin": "margin"},
}


def metric_of(algorithm: str, name: str) -> str:
    """The library's name of a figure of the evaluation; one that is not ours stays as it is."""
    found = METRICS.get(algorithm, {}).get(name.removeprefix("eval_"))
    return name if found is None or found == name.removeprefix("eval_") else f"eval_{found}"


def write(config: Any, part: Part, table: Mapping[str, Argument] = TABLE) -> dict[str, Any]:
    """Keyword arguments of ``part`` for this configuration.

    Raises:
        ConfigError: a field is set that the library does not have for this algorithm.
    """
    arguments: dict[str, Any] = {}
    problems = []
    for path, argument in table.items():
        if argument.part != part:
            continue
        value = value_at(config, path)
        if argument.algorithms is None or config.algorithm in argument.algorithms:
            if not (value is None and argument.libraries_choice):
                arguments |= argument.write(value)
        elif value not in argument.off:
            problems.append(
                f"{path}: got {value!r}, but TRL offers it for {', '.join(sorted(argument.algorithms))} only, "
                f"not for {config.algorithm}; leave it out"
            )
    if problems:
        raise ConfigError(problems)
    return arguments


def read(config: Any, part: Part, source: Any, table: Mapping[str, Argument] = TABLE) -> dict[str, Any]:
    """What ``source`` (an object or a dict of arguments) holds, as config paths and values.

    Fields that the configuration leaves to the library are left out: there is nothing to compare them with.
    """
    get: Getter = source.__getitem__ if isinstance(source, Mapping) else lambda name: getattr(source, name)
    return {
        path: argument.read(get)
        for path, argument in table.items()
        if argument.part == part
        and (argument.algorithms is None or config.algorithm in argument.algorithms)
        and not (argument.libraries_choice and value_at(config, path) is None)
    }


def paths(table: Mapping[str, Argument], part: Part) -> Iterable[str]:
    """The config paths of one part."""
    return (path for path, argument in table.items() if argument.part == part)
