"""Before weights: what cannot be run, the device, the tokenizer, and the argument objects that can be made already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import SchedulerType, get_scheduler

from aligntune_core import Prepared
from aligntune_core.backends import default_hooks
from aligntune_core.entrypoints import versions
from aligntune_core.errors import ConfigError
from aligntune_core.model import tokenizer
from aligntune_core.model.kind import language_model_problems
from aligntune_core.model.source import adapter_config
from aligntune_core.wording import did_you_mean
from aligntune_torch import load
from aligntune_torch.table import ADAPTER, LOAD, PARAMETERS

if TYPE_CHECKING:
    from aligntune_core.config import Config

DISTRIBUTIONS = ("torch", "transformers", "accelerate", "peft", "tokenizers", "datasets")


def prepare(config: Config) -> Prepared:
    """Core's own preparation, with our refusals before it.

    Raises:
        ConfigError: everything that was asked for and is not offered.
    """
    problems = list(_refused(config))
    if problems:
        raise ConfigError(problems)
    prepared = default_hooks.prepare(config)
    tokenizer.check_ends(config.model, prepared.tokenizer)
    problems = language_model_problems(*load.description(config))
    if problems:
        raise ConfigError(problems)
    if prepared.tokenizer.pad_token is None:
        prepared.tokenizer.pad_token = prepared.tokenizer.eos_token  # padding never enters a loss
    return replace(prepared, versions=versions(DISTRIBUTIONS))


def planned(config: Config) -> Mapping[str, Any]:
    """What goes to ``from_pretrained`` and to ``LoraConfig``."""
    given = load.load_arguments(config)
    values = {path: given.get(name) for path, name in LOAD.items()}
    values["model.token"] = config.model.token  # compared as it is, a secret
    if config.peft.enabled:
        adapter = load.lora_config(config)
        values |= {path: getattr(adapter, name) for path, name in ADAPTER.items()}
    return values


def _refused(config: Config) -> Iterator[str]:
    instead = 'use backend="trl"'
    if config.data.streaming:
        yield f'streaming: backend "torch" tokenises all rows before it starts; {instead}'
    if config.model.precision == "fp16":
        yield 'precision="fp16": backend "torch" has no loss scaling; take "bf16" or "fp32"'
    if config.run.save_strategy == "best":
        yield f'save_strategy="best": backend "torch" saves by steps or epochs; {instead}'
    if adapter_config(config.model.name) is not None:
        yield f'model_name is an adapter folder; backend "torch" starts from whole models; {instead}'
    yield from _refused_schedule(config.optim.lr_scheduler)
    for name, field in type(config.parameters).model_fields.items():
        value = getattr(config.parameters, name)
        if name not in PARAMETERS[config.algorithm] and value != field.get_default(call_default_factory=True):
            yield f'{name}={value!r}: backend "torch" offers its default only; {instead}'


def _refused_schedule(name: str) -> Iterator[str]:
    names = [kind.value for kind in SchedulerType]
    if name not in names:
        yield f'lr_scheduler: there is no "{name}".{did_you_mean(name, names)}'
        return
    try:
        get_scheduler(name, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]), 0, 1)
    except (TypeError, ValueError) as error:
        yield f'lr_scheduler="{name}" needs settings that are not offered: {error}'
