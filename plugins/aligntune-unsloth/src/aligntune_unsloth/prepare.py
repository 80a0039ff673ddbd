"""The device, the import of unsloth, the tokenizer, and what the patched libraries would make of a configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aligntune_core.toolkit import BackendUnavailable, output_dir, probe, recorded_environment, versions
from aligntune_trl import api
from aligntune_unsloth import device, refuse
from aligntune_unsloth.options import cpu_allowed
from aligntune_unsloth.start import spoken, start

if TYPE_CHECKING:
    from aligntune_core import Config, Prepared

DISTRIBUTIONS = ("unsloth", "unsloth_zoo", "triton", "xformers")
"""Beside those of the TRL backend."""


def prepare(config: Config) -> Prepared:
    """Judge the device, import unsloth before everything that it patches, and load the tokenizer.

    Raises:
        BackendUnavailable: no GPU, and the CPU was not asked for; or unsloth does not accept the machine.
        ConfigError: no model, or no tokenizer.
    """
    kind = device.choose(cpu_allowed(config.backend_options))
    if kind == "cpu" and api.scores(config):
        raise BackendUnavailable(
            f'{config.algorithm}: Unsloth\'s CPU path loads no classifiers; use backend="trl"'
        )
    start(kind, output_dir(config))
    # Unsloth would tokenise with as many processes as it sees fit; rows are packed differently then.
    with recorded_environment():
        os.environ["UNSLOTH_DATASET_NUM_PROC"] = str(config.data.num_proc or 0)
    with spoken():
        prepared = api.prepare(config)
    if prepared.device.kind != kind:
        raise BackendUnavailable(
            f'backend "unsloth": a GPU seems to be there, but torch cannot use it. {probe()} '
            'backend="trl" runs on the CPU.'
        )
    return replace(prepared, versions={**prepared.versions, **versions(DISTRIBUTIONS)})


def planned(config: Config, prepared: Prepared) -> Mapping[str, Any]:
    """What Unsloth's patched argument classes hold for this configuration.

    Raises:
        ConfigError: something cannot be run, or Unsloth would change it.
    """
    with spoken():
        refuse.refuse(config, prepared.device, api.State.of(config, prepared).source)
        values = dict(api.planned(config, prepared))
    if config.optim.gradient_checkpointing == "unsloth" and values["optim.gradient_checkpointing"]:
        values["optim.gradient_checkpointing"] = (
            "unsloth"  # which kind is the model's, read from it when built
        )
    return values
