"""Weights through ``FastLanguageModel``, and adapters through its ``get_peft_model``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aligntune_core import LoadedModel, Prepared
from aligntune_core.algorithms import find
from aligntune_core.launch import environment
from aligntune_core.run.folder import CACHE
from aligntune_core.run.seeding import seed_everything
from aligntune_trl.model import adapter, source
from aligntune_trl.model import load as trl_load
from aligntune_trl.model.source import Source
from aligntune_trl.online import rewards_bridge
from aligntune_trl.refuse import continued
from aligntune_trl.refuse import refuse as refuse_as_trl
from aligntune_unsloth import refuse
from aligntune_unsloth.start import spoken

BUFFERS = "unsloth_buffers"

# Fields of peft's LoraConfig that ``get_peft_model`` takes under the same name.
_SAME_NAME = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "bias",
    "use_rslora",
    "use_dora",
    "modules_to_save",
    "layers_to_transform",
    "init_lora_weights",
)


def load(config: Any, prepared: Prepared) -> LoadedModel:
    """Load the policy; an adapter folder is continued on its base, or merged into it.

    Raises:
        ConfigError: what was asked for does not fit the model, or Unsloth would change it.
    """
    found = source.find(config)
    refuse.refuse(config, prepared.device, found)
    refuse_as_trl(config, prepared.device, found, "unsloth")
    if find(config.algorithm).scored_by == "rewards":
        rewards_bridge.build(config, prepared.tokenizer)  # what cannot be used shows before weights load
    with spoken():
        if continued(config, found):
            model = _from_pretrained(config, prepared, found, found.adapter)
        else:
            model = _from_pretrained(config, prepared, found, found.base)
            if found.adapter_config is not None:
                model = trl_load.merged(model, config, found)
    return LoadedModel(model, prepared.tokenizer)


def _from_pretrained(config: Any, prepared: Prepared, found: Source, name: Any) -> Any:
    """Unsloth's model. Everything that it defaults is given; its own tokenizer is left aside for core's."""
    import torch
    from unsloth import FastLanguageModel

    quantization = trl_load.quantization_config(config)
    four_bit = quantization is not None or found.quantised
    hub = source.hub_arguments(config, config.model.revision if name == found.adapter else found.revision)
    given: dict[str, Any] = {
        "model_name": name,
        "max_seq_length": config.data.max_seq_length,
        "dtype": trl_load.base_dtype(config),
        "load_in_4bit": four_bit,
        "load_in_8bit": False,
        "load_in_16bit": False,
        "full_finetuning": not config.peft.enabled,
        "use_gradient_checkpointing": config.optim.gradient_checkpointing,
        "trust_remote_code": config.model.trust_remote_code,
        "random_state": config.run.seed,
        "fast_inference": False,
        "fix_tokenizer": False,
        "use_exact_model_name": True,  # not a quantised twin of the name that was asked for
        **hub,
    }
    if quantization is not None:
        given["quantization_config"] = quantization
    if config.model.device_map is not None:
        given["device_map"] = config.model.device_map
    if prepared.device.kind != "cpu" and not config.peft.enabled:
        # Loaded in bf16, then float32 masters under autocast: what the run contract says of a full fine-tune.
        given |= {"dtype": torch.bfloat16, "float32_mixed_precision": True}
    with environment.recorded():
        # Unsloth leaves this set after a full fine-tune, and later adapters of the process would have no effect.
        os.environ["UNSLOTH_ENABLE_FULL_FINETUNING"] = "0" if config.peft.enabled else "1"
    if config.algorithm == "reward":
        given["num_labels"] = 1
    model, _ = FastLanguageModel.from_pretrained(**given)
    _complete(model, config, found, rounded=not config.peft.enabled and given["dtype"] == torch.bfloat16)
    return model


def _complete(model: Any, config: Any, found: Source, rounded: bool) -> None:
    """What Unsloth's loading leaves different from the same checkpoint on the TRL backend."""
    import torch

    hub = source.hub_arguments(config, found.revision)
    if rounded and found.model_config.dtype != torch.bfloat16:
        unround(model, found.base, hub | ({"num_labels": 1} if config.algorithm == "reward" else {}))
    has_head = any("SequenceClassification" in name for name in found.architectures)
    if config.algorithm == "reward" and not has_head:
        draw_head(model, config)


def unround(model: Any, name: str, given: Mapping[str, Any]) -> None:
    """Give float32 masters the checkpoint's own values; loaded in bf16 they lost digits that a finer format keeps.

    Args:
        model: of float32 parameters.
        name: hub id or folder of the checkpoint; it is loaded once more, in float32, into the host's memory.
        given: revision, token and what else loads it.
    """
    import torch

    finer = type(model).from_pretrained(name, dtype=torch.float32, **given).state_dict()
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
    drawn = torch.empty(weight.shape, dtype=trl_load.base_dtype(config))
    weight.data.copy_(drawn.normal_(0.0, model.config.initializer_range))


def adapt(loaded: LoadedModel, config: Any) -> LoadedModel:
    """Wrap the model in a fresh adapter, unless it is continued or fine-tuned in full. Core has seeded just before."""
    with spoken():
        return adapter.apply(loaded, config, lambda model, settings: _attach(model, settings, config))


def _attach(model: Any, settings: Any, config: Any) -> Any:
    from unsloth import FastLanguageModel

    given = {name: getattr(settings, name) for name in _SAME_NAME}
    if isinstance(given["target_modules"], set):
        given["target_modules"] = sorted(given["target_modules"])
    return FastLanguageModel.get_peft_model(
        model,
        **given,
        random_state=config.run.seed,
        use_gradient_checkpointing=config.optim.gradient_checkpointing,
        max_seq_length=config.data.max_seq_length,
        temporary_location=str(Path(config.run.output_dir).resolve() / CACHE / BUFFERS),
    )
