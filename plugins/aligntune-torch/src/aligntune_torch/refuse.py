"""Combinations that this backend cannot run though it honours each field. Light: no device, no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aligntune_core.toolkit import adapter_config
from aligntune_torch.algorithms import PARAMETERS

if TYPE_CHECKING:
    from aligntune_core import Config


def problems(config: Config) -> Iterator[str]:
    """A sentence for each, in the user's keywords."""
    if config.data.streaming:
        yield 'streaming: backend "torch" tokenises all rows before it starts; leave it out'
    if config.model.precision == "fp16":
        yield 'precision="fp16": backend "torch" has no loss scaling; take "bf16" or "fp32"'
    if config.run.save_strategy == "best":
        yield 'save_strategy="best": backend "torch" saves by steps or epochs; take "steps" or "epoch"'
    if adapter_config(config.model.name) is not None:
        yield 'model_name is an adapter folder; backend "torch" starts from whole models; merge it into one first'
    honoured = {argument.path for argument in PARAMETERS[config.algorithm]}
    for name, field in type(config.parameters).model_fields.items():
        value = getattr(config.parameters, name)
        if f"parameters.{name}" not in honoured and value != field.get_default(call_default_factory=True):
            yield f'{name}={value!r}: backend "torch" offers its default only; leave it out'
