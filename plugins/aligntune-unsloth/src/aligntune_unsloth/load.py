"""Weights through ``FastLanguageModel``, and adapters through its ``get_peft_model``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aligntune_core import LoadedModel, Prepared
from aligntune_core.toolkit import cache_folder, find_algorithm, recorded_environment, seed_everything
from aligntune_trl import api
from aligntune_unsloth.start import spoken
from aligntune_unsloth.table import LORA

if TYPE_CHECKING:
    from aligntune_trl.api import Source

BUFFERS = "unsloth_buffers"


def load(config: Any, prepared: Prepared) -> LoadedModel:
    """Load the policy; an adapter folder is continued on its base, or merged into it.

    Raises:
        ConfigError: a reward cannot be used.
    """
    source = api.State.of(config, prepared).source
    if find_algorithm(config.algorithm).scored_by == "rewards":
        api.build_rewards(config, prepared.tokenizer)  # what cannot be used shows before weights load
    with spoken():
        if api.continued(config, source):
            model = _from_pretrained(config, prepared, source, source.adapter)
        else:
            model = _from_pretrained(config, prepared, source, source.base)
            if source.adapter_config is not None:
                model = api.merged(model, config, source)
    return LoadedModel(model, prepared.tokenizer)


def _from_pretrained(config: Any, prepared: Prepared, source: Source, name: Any) -> Any:
    """Unsloth's model. Everything that it defaults is given; its own tokenizer is left aside for core's."""
    import torch
    from unsloth import FastLanguageModel

    quantization = api.quantization_config(config)
    four_bit = quantization is not None or source.quantised
    hub = api.hub_arguments(config, config.model.revision if name == source.adapter else source.revision)
    arguments: dict[str, Any] = {
        "model_name": name,
        "max_seq_length": config.data.max_seq_length,
        "dtype": api.base_dtype(config),
        "load_in_4bit": four_bit,
        "load_in_8bit": False,
        "load_in_16bit": False,
        "full_finetuning": not config.peft.enabled,
        "use_gradient_checkpointing": config.optim.gradient_checkpointing,
        "trust_remote_code": config.model.trust_remote_code,
        "random_state": config.run.seed,
        "fast_inference": False,
        "fix_tokenizer": False,
        "use_exact_model_name": True,  # not a quantised twin of that name
        **hub,
    }
    if quantization is not None:
        arguments["quantization_config"] = quantization
    if config.model.device_map is not None:
        arguments["device_map"] = config.model.device_map
    if prepared.device.kind != "cpu" and not config.peft.enabled:
        # Loaded in bf16, then float32 masters under autocast: what the run contract says of a full fine-tune.
        arguments |= {"dtype": torch.bfloat16, "float32_mixed_precision": True}
    with recorded_environment():
        # Unsloth leaves this set after a full fine-tune, and later adapters of the process would have no effect.
        os.environ["UNSLOTH_ENABLE_FULL_FINETUNING"] = "0" if config.peft.enabled else "1"
    if api.scores(config):
        arguments["num_labels"] = 1
    model, _ = FastLanguageModel.from_pretrained(**arguments)
    _complete(model, config, source, rounded=not config.peft.enabled and arguments["dtype"] == torch.bfloat16)
    return model


def _complete(model: Any, config: Any, source: Source, rounded: bool) -> None:
    """What Unsloth's loading leaves different from the same checkpoint on the TRL backend."""
    import torch

    hub = api.hub_arguments(config, source.revision)
    if rounded and source.model_config.dtype != torch.bfloat16:
        unround(model, source.base, hub | ({"num_labels": 1} if api.scores(config) else {}))
    has_head = any("SequenceClassification" in name for name in source.architectures)
    if api.scores(config) and not has_head:
        draw_head(model, config)


def unround(model: Any, name: str, arguments: Mapping[str, Any]) -> None:
    """Give float32 masters the checkpoint's own values; loaded in bf16 they lost digits that a finer format keeps.

    Args:
        model: of float32 parameters.
        name: hub id or folder of the checkpoint; it is loaded once more, in float32, into the host's memory.
        arguments: revision, token and what else loads it.
    """
    import torch

    finer = type(model).from_pretrained(name, dtype=torch.float32, **arguments).state_dict()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(finer[key])


def draw_head(model: Any, config: Any) -> None:
    """Draw a reward model's head from the seed as transformers does on the host; Unsloth draws it on the device.

    Args:
        model: a classifier whose output layer is ``score``.
        config: resolved configuration.
    """
    import torch

    weight = model.score.weight
    seed_everything(config.run.seed)
    drawn = torch.empty(weight.shape, dtype=api.base_dtype(config))
    weight.data.copy_(drawn.normal_(0.0, model.config.initializer_range))


def adapt(loaded: LoadedModel, config: Any) -> LoadedModel:
    """Wrap the model in a fresh adapter, unless it is continued or fine-tuned in full. Core has seeded just before."""
    with spoken():
        return api.apply_adapter(loaded, config, lambda model, settings: _attach(model, settings, config))


def _attach(model: Any, settings: Any, config: Any) -> Any:
    from unsloth import FastLanguageModel

    arguments = {name: getattr(settings, name) for name in LORA}
    if isinstance(arguments["target_modules"], set):
        arguments["target_modules"] = sorted(arguments["target_modules"])
    if settings.target_parameters:
        arguments["target_parameters"] = sorted(settings.target_parameters)
    return FastLanguageModel.get_peft_model(
        model,
        **arguments,
        random_state=config.run.seed,
        use_gradient_checkpointing=config.optim.gradient_checkpointing,
        max_seq_length=config.data.max_seq_length,
        temporary_location=str(cache_folder(config.run.output_dir) / BUFFERS),
    )
