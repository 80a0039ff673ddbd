"""The device, the import of unsloth, the tokenizer, and what the patched libraries would make of a configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aligntune_core import Device, Prepared
from aligntune_core.entrypoints import versions
from aligntune_core.errors import BackendUnavailable, ConfigError
from aligntune_core.launch import environment
from aligntune_core.model.device import probe
from aligntune_core.wording import a_type
from aligntune_unsloth import device
from aligntune_unsloth.options import cpu_allowed
from aligntune_unsloth.start import spoken, start

if TYPE_CHECKING:
    from aligntune_core.config import Config

DISTRIBUTIONS = ("unsloth", "unsloth_zoo", "triton", "xformers")
"""Beside those of the TRL backend."""


def prepare(config: Config) -> Prepared:
    """Judge the device, import unsloth before everything that it patches, and load the tokenizer.

    Raises:
        BackendUnavailable: no GPU, and the CPU was not asked for; or unsloth does not accept the machine.
        ConfigError: a model in memory, or no tokenizer.
    """
    from aligntune_core.config.resolve.defaults import output_dir

    kind = device.choose(cpu_allowed(config.backend_options))
    if kind == "cpu" and config.algorithm == "reward":
        raise BackendUnavailable('reward: Unsloth\'s CPU path loads no classifiers; use backend="trl"')
    if not isinstance(config.model.name, str):
        raise ConfigError(
            f"model_name is {a_type(config.model.name)} in memory; Unsloth loads and patches models itself: "
            "save it (model.save_pretrained(FOLDER)) and give the folder"
        )
    start(kind, output_dir(config))
    # Unsloth would tokenise with as many processes as it sees fit; rows are packed differently then.
    with environment.recorded():
        os.environ["UNSLOTH_DATASET_NUM_PROC"] = str(config.data.num_proc or 0)
    with spoken():
        from aligntune_trl import prepare as trl_stage

        prepared = trl_stage.prepare(config)
    if prepared.device.kind != kind:
        raise BackendUnavailable(
            f'backend "unsloth": a GPU seems to be there, but torch cannot use it. {probe()} '
            'backend="trl" runs on the CPU.'
        )
    return replace(
        prepared,
        versions={**prepared.versions, **versions(DISTRIBUTIONS)},
    )


def planned(config: Config, device: Device) -> Mapping[str, Any]:
    """What Unsloth's patched argument classes hold for this configuration.

    Raises:
        ConfigError: something cannot be run, or Unsloth would change it.
    """
    from aligntune_trl import prepare as trl_stage
    from aligntune_trl.model import source
    from aligntune_unsloth import refuse

    with spoken():
        refuse.refuse(config, device, source.find(config))
        values = dict(trl_stage.planned(config, device, "unsloth"))
    if config.optim.gradient_checkpointing == "unsloth" and values["optim.gradient_checkpointing"]:
        values["optim.gradient_checkpointing"] = (
            "unsloth"  # which kind is the model's, read from it when built
        )
    return values
