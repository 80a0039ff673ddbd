"""Before weights: the device, the tokenizer, what the model is, and what TRL would make of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aligntune_core import Prepared
from aligntune_core.toolkit import (
    check_ends,
    check_model,
    check_padding,
    embedding_rows,
    grown_rows,
    load_tokenizer,
    resolve_targets,
    text_part_remark,
    torch_device,
    versions,
)
from aligntune_trl import refuse, table
from aligntune_trl.algorithms.recipe import find
from aligntune_trl.model import adapter, load, source
from aligntune_trl.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aligntune_core import Config

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
    """Judge the device, load the tokenizer and tell what the model is.

    Raises:
        ConfigError: the model is not there, cannot be trained on, or has no tokenizer.
    """
    check_model(config.model)
    device = torch_device()
    tokenizer = load_tokenizer(config.model)
    check_ends(config.model, tokenizer)
    model = source.find(config)
    size = grown_rows(config, tokenizer, model.rows or embedding_rows(model.model_config))
    check_padding(tokenizer, size)
    return Prepared(
        device=device,
        tokenizer=tokenizer,
        vocabulary=size,
        versions=versions(DISTRIBUTIONS),
        state=State(model),
    )


def planned(config: Any, prepared: Prepared) -> Mapping[str, Any]:
    """What TRL, transformers, peft and bitsandbytes would use, read back from their own argument objects.

    Raises:
        ConfigError: something cannot be run; nothing heavy has been loaded.
    """
    state = State.of(config, prepared)
    model = state.source
    refuse.refuse(config, prepared.device, state)
    values: dict[str, Any] = {}
    if find(config.algorithm) is not None:
        from aligntune_trl import additions  # imports transformers

        args = table.planned_arguments(config, prepared)
        refuse.refuse_optimizer(args, config)
        values |= table.read_arguments(config, args)
        values |= additions.read_early_stopping(additions.early_stopping(config))
    values |= table.read(config, "load", load.load_arguments(config))
    if config.model.quantization is not None:
        values |= table.read(config, "quantization", load.quantization_config(config))
    continued = source.continued(config, model)
    if config.peft.enabled and not continued:
        values |= table.read(config, "lora", adapter.lora_config(config))
        if config.peft.init == "loftq":
            del values["peft.init"]  # applied to the built adapter, and read from it
        if adapter.layers_of_all_linear(config):
            del values["peft.target_modules"]
    values["peft.merge_adapter"] = model.adapter_config is not None and not continued
    return values


def remarks(config: Any, prepared: Prepared) -> list[str]:
    """What of the checkpoint is not loaded, and what of the model carries no adapter and why."""
    state = State.of(config, prepared)
    model = state.skeleton(config)
    if model is None:
        return []
    sentences = [text_part_remark(state.source.model_config, model)]
    if config.peft.enabled and not source.continued(config, state.source):
        packed = state.source.quantised or config.model.quantization is not None
        sentences.append(resolve_targets(model, config.peft, packed).remark())
    return [sentence for sentence in sentences if sentence]
