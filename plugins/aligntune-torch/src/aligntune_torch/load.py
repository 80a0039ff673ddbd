"""Weights, adapter and reference policy.

Precision as the run contract says: "bf16" keeps frozen weights in bf16 and trainable ones in float32 under bf16
autocast; "fp32" is float32 everywhere.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from aligntune_core import LoadedModel
from aligntune_core.toolkit import (
    ConfigError,
    find_algorithm,
    fold,
    grow,
    located,
    resolve_targets,
    target_problems,
    write,
)
from aligntune_torch.table import TABLE

if TYPE_CHECKING:
    from pathlib import Path

    from aligntune_core import Config, Prepared
    from aligntune_core.toolkit import Targets
    from aligntune_core.types import Form


def load_arguments(config: Config) -> dict[str, Any]:
    """Keyword arguments of ``from_pretrained``."""
    return {"dtype": frozen_dtype(config), **write(TABLE, config, "load", "transformers")}


def frozen_dtype(config: Config) -> Any:
    """Number format of the weights that are loaded; what trains is float32, and in a full fine-tune that is all."""
    return torch.bfloat16 if config.peft.enabled and config.model.precision == "bf16" else torch.float32


def lora_config(config: Config, targets: Targets | None = None) -> Any:
    """peft's description of the adapter; ``targets`` says where on this model it goes, in peft's own words."""
    where = {} if targets is None else targets.arguments()
    return LoraConfig(task_type="CAUSAL_LM", **{**write(TABLE, config, "lora", "peft"), **where})


def load(config: Config, prepared: Prepared) -> LoadedModel:
    """Load the policy; a model in memory is taken as it is, in the number format of the contract."""
    model = config.model.name
    if isinstance(model, str):
        arguments = load_arguments(config)
        model = AutoModelForCausalLM.from_pretrained(
            located(model), config=prepared.state.config, **arguments
        )
    # Not model.to(dtype): buffers, as those of rotary embeddings, stay float32.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(frozen_dtype(config))
    grow(model, config, prepared.tokenizer)
    stop_at(model, prepared.tokenizer.eos_token_id)
    return LoadedModel(model.to(prepared.device.kind), prepared.tokenizer)


def stop_at(model: Any, token: int) -> None:
    """Let generation stop at a token too, beside those that the model stops at already; it is saved with the model."""
    generation = model.generation_config
    ids = generation.eos_token_id
    ids = [] if ids is None else ids if isinstance(ids, list) else [ids]
    if token not in ids:
        generation.eos_token_id = [token, *ids]


def wrap(loaded: LoadedModel, config: Config) -> LoadedModel:
    """Put a LoRA adapter on the model. Where none can be switched off, keep a frozen copy as reference policy."""
    model, roles = loaded.model, {}
    compares = find_algorithm(config.algorithm).compares(config.parameters)
    if compares and not (config.peft.enabled and config.peft.bias == "none"):
        roles["reference"] = copy.deepcopy(model).eval().requires_grad_(False)
    if config.peft.enabled:
        if problems := target_problems(model, config.peft):
            raise ConfigError(problems)
        targets = resolve_targets(model, config.peft)
        model = get_peft_model(model, lora_config(config, targets), autocast_adapter_dtype=True)
        model.aligntune_targets = targets
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return LoadedModel(model, loaded.tokenizer, roles)


def save(model: Any, tokenizer: Any, path: Path, form: Form) -> None:
    """Write adapter or model, and tokenizer; merging is done in a copy, since the policy may go on training."""
    if form == "merged" and isinstance(model, PeftModel):
        model = fold(copy.deepcopy(model), safe_merge=True)
    # peft cannot always tell from the base that the vocabulary has grown.
    whole = isinstance(model, PeftModel) and getattr(model, "aligntune_resized", False)
    model.save_pretrained(path, **({"save_embedding_layers": True} if whole else {}))
    tokenizer.save_pretrained(path)
