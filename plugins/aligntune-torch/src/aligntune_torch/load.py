"""Weights, adapter and reference policy.

Precision as the run contract says: "bf16" keeps frozen weights in bf16 and trainable ones in float32 under bf16
autocast; "fp32" is float32 everywhere.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from aligntune_core import LoadedModel
from aligntune_torch.table import ADAPTER

if TYPE_CHECKING:
    from aligntune_core import Prepared
    from aligntune_core.config import Config


def load_arguments(config: Config) -> dict[str, Any]:
    """Keyword arguments of ``from_pretrained``."""
    model = config.model
    given = {
        "dtype": frozen_dtype(config),
        "revision": model.revision,
        "token": model.token.get_secret_value() if model.token else None,
        "trust_remote_code": model.trust_remote_code,
        "attn_implementation": model.attn_implementation,
    }
    return {name: value for name, value in given.items() if value is not None}


def description(config: Config) -> tuple[Any, tuple[str, ...], bool]:
    """The model's configuration, the classes that it is stored for or its class in memory, whether it is there."""
    model = config.model.name
    if not isinstance(model, str):
        return model.config, (type(model).__name__,), True
    token = config.model.token.get_secret_value() if config.model.token else None
    found = AutoConfig.from_pretrained(
        model, revision=config.model.revision, token=token, trust_remote_code=config.model.trust_remote_code
    )
    return found, tuple(found.architectures or ()), False


def frozen_dtype(config: Config) -> Any:
    """Number format of the weights that are loaded; what trains is float32, and in a full fine-tune that is all."""
    return torch.bfloat16 if config.peft.enabled and config.model.precision == "bf16" else torch.float32


def lora_config(config: Config) -> Any:
    """peft's description of the adapter."""
    values = {name: getattr(config.peft, path.partition(".")[2]) for path, name in ADAPTER.items()}
    return LoraConfig(task_type="CAUSAL_LM", **values)


def load(config: Config, prepared: Prepared) -> LoadedModel:
    """Load the policy; a model in memory is taken as it is, in the number format of the contract."""
    model = config.model.name
    if isinstance(model, str):
        model = AutoModelForCausalLM.from_pretrained(model, **load_arguments(config))
    # Not model.to(dtype): buffers, as those of rotary embeddings, stay float32.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(frozen_dtype(config))
    return LoadedModel(model.to(prepared.device.kind), prepared.tokenizer)


def wrap(loaded: LoadedModel, config: Config) -> LoadedModel:
    """Put a LoRA adapter on the model. Where none can be switched off, keep a frozen copy as DPO's reference policy."""
    model, reference = loaded.model, None
    if config.algorithm == "dpo" and not (config.peft.enabled and config.peft.bias == "none"):
        reference = copy.deepcopy(model).eval().requires_grad_(False)
    if config.peft.enabled:
        model = get_peft_model(model, lora_config(config), autocast_adapter_dtype=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return LoadedModel(model, loaded.tokenizer, {"reference": reference} if reference is not None else {})


def reference_policy(policy: Any, reference: Any) -> tuple[Any, AbstractContextManager[Any]]:
    """The model to ask for reference log-probabilities, and its context: for LoRA, the adapter is off."""
    if reference is None and isinstance(policy, PeftModel):
        return policy, policy.disable_adapter()
    return reference, nullcontext()


def save(model: Any, tokenizer: Any, path: Any, merged: bool = False) -> None:
    """Write adapter or model, and tokenizer; merging is done in a copy, since the policy may go on training."""
    if merged and isinstance(model, PeftModel):
        model = copy.deepcopy(model).merge_and_unload()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
