"""Before weights: the device, the tokenizer, the model's description, and the arguments that can be made already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, SchedulerType, get_scheduler

from aligntune_core import Prepared
from aligntune_core.toolkit import (
    ConfigError,
    check_ends,
    check_padding,
    did_you_mean,
    embedding_rows,
    grown_rows,
    language_model_problems,
    located,
    model_skeleton,
    prepare_by_default,
    read,
    resolve_targets,
    target_problems,
    text_part_remark,
    versions,
    weight_format_problems,
)
from aligntune_torch import load
from aligntune_torch.table import TABLE

if TYPE_CHECKING:
    from aligntune_core import Config

DISTRIBUTIONS = ("torch", "transformers", "accelerate", "peft", "tokenizers", "datasets")


@dataclass(frozen=True)
class Description:
    """What is known of the model before its weights: ``Prepared.state``.

    Attributes:
        config: the model's own configuration, of transformers.
        classes: those that it is stored for, or its class in memory.
        in_memory: whether ``model_name`` is the model itself.
    """

    config: Any
    classes: tuple[str, ...]
    in_memory: bool


def prepare(config: Config) -> Prepared:
    """Core's own preparation, and what is wrong with schedule and model.

    Raises:
        ConfigError: everything that cannot be run.
    """
    prepared = prepare_by_default(config)
    check_ends(config.model, prepared.tokenizer)
    model = describe(config)
    problems = _schedule_problems(config.optim.lr_scheduler) or _settings_problems(config)
    problems += language_model_problems(model.config, model.classes, model.in_memory)
    problems += weight_format_problems(model.config, prepared.device.kind, trained_packed=False)
    if problems:
        raise ConfigError(problems)
    size = grown_rows(config, prepared.tokenizer, embedding_rows(model.config))
    check_padding(prepared.tokenizer, size)
    return replace(prepared, vocabulary=size, versions=versions(DISTRIBUTIONS), state=model)


def describe(config: Config) -> Description:
    """Read the model's configuration, from its folder, the hub or the model in memory."""
    model = config.model.name
    if not isinstance(model, str):
        return Description(model.config, (type(model).__name__,), True)
    arguments = load.load_arguments(config)
    where = {name: arguments.get(name) for name in ("revision", "token", "trust_remote_code")}
    description = AutoConfig.from_pretrained(located(model), **where)
    return Description(description, tuple(description.architectures or ()), False)


def planned(config: Config, prepared: Prepared) -> Mapping[str, Any]:
    """What goes to ``from_pretrained`` and to ``LoraConfig``.

    Raises:
        ConfigError: the adapter is to go on modules that the model has not.
    """
    refuse_targets(config, prepared.state)
    values = read(TABLE, config, "load", load.load_arguments(config))
    return values | read(TABLE, config, "lora", load.lora_config(config)) if config.peft.enabled else values


def refuse_targets(config: Config, description: Description) -> None:
    """Refuse names of modules that the model has not.

    Raises:
        ConfigError: says which it has.
    """
    model = skeleton(config, description)
    if config.peft.enabled and model is not None and (problems := target_problems(model, config.peft)):
        raise ConfigError(problems)


def remarks(config: Config, prepared: Prepared) -> list[str]:
    """What of the checkpoint is not loaded, and what of the model carries no adapter and why."""
    model = skeleton(config, prepared.state)
    if model is None:
        return []
    sentences = [text_part_remark(prepared.state.config, model)]
    if config.peft.enabled:
        sentences.append(resolve_targets(model, config.peft).remark())
    return [sentence for sentence in sentences if sentence]


def skeleton(config: Config, description: Description) -> Any:
    """The model without its weights, or as it is in memory; None where making it takes a repository's code."""
    return config.model.name if description.in_memory else model_skeleton(description.config)


def _schedule_problems(name: str) -> list[str]:
    names = [kind.value for kind in SchedulerType]
    if name not in names:
        return [f'lr_scheduler: there is no "{name}".{did_you_mean(name, names)}']
    if name in ("reduce_lr_on_plateau", "greedy"):
        return [
            f'lr_scheduler="{name}" follows a measured loss; backend "torch" has schedules of the step alone'
        ]
    return []


def _settings_problems(config: Config) -> list[str]:
    """What a schedule of transformers says to its settings."""
    optim = config.optim
    name, settings, peak = optim.lr_scheduler, dict(optim.lr_scheduler_kwargs or {}), optim.learning_rate
    if optim.min_learning_rate is not None:
        return []  # core has the setting that this becomes, and adds it
    try:
        get_scheduler(
            name, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], peak or 1.0), 0, 1, settings
        )
    except (TypeError, ValueError) as error:
        if settings:
            return [f"lr_scheduler_kwargs: {name!r} does not take {settings}: {error}"]
        return [f'lr_scheduler="{name}" needs settings, given as lr_scheduler_kwargs: {error}']
    return []
