"""What a policy takes before its weights load: its parameters, how many of them are trained, and their memory.

torch, transformers and peft are imported inside.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aligntune_core.algorithms import find
from aligntune_core.model.layers import model_skeleton
from aligntune_core.model.source import adapter_config, located
from aligntune_core.model.targets import resolve_targets

if TYPE_CHECKING:
    from aligntune_core.config import Config

_FLOAT32, _HALF = 4, 2
_FOUR_BIT = 0.516  # with its constants, themselves quantised: table 6 of the QLoRA paper says 0.127 bits
# Bytes that an optimiser keeps of each trained parameter, by the beginning of its name, the longer first.
_STATES = {
    "adamw_8bit": 2, "adamw_bnb_8bit": 2, "paged_adamw_8bit": 2, "adamw": 8, "paged_adamw": 8, "lion_8bit": 1,
    "paged_lion_8bit": 1, "lion": 4, "paged_lion": 4, "sgd": 0, "rmsprop": 4, "adagrad": 4,
}  # fmt: skip


@dataclass(frozen=True)
class PolicySize:
    """What is known of a policy's size.

    Attributes:
        parameters: all of them, the adapter's among them.
        trained: those that the optimiser changes.
        memory_bytes: weights, gradients and what the optimiser keeps, and the reference model's weights where there is
            one of its own. Activations come on top: they are not known before a step.
        optimizer_counted: False: nothing is known of what this optimiser keeps, so it is left out.
    """

    parameters: int
    trained: int
    memory_bytes: int
    optimizer_counted: bool


def policy_size(config: Config) -> PolicySize | None:
    """Count a resolved configuration's policy; None where making it takes the code of a repository.

    Raises:
        ConfigError: the model's configuration is none that its architecture can be made of.
    """
    base = _base(config)
    if base is None:
        return None
    whole = sum(parameter.numel() for parameter in base.parameters())
    frozen = _frozen_bytes(config, whole, _packed_elements(base))
    states = next((size for name, size in _STATES.items() if config.optim.optimizer.startswith(name)), None)
    each = 2 * _FLOAT32 + (states or 0)  # weight, gradient, what the optimiser keeps
    if config.peft.enabled:
        trained = _adapter_parameters(base, config)
        return PolicySize(whole + trained, trained, frozen + trained * each, states is not None)
    reference = frozen if find(config.algorithm).compares(config.parameters) else 0
    return PolicySize(whole, whole, whole * each + reference, states is not None)


def _base(config: Config) -> Any:
    """The model without weights and without adapter."""
    from transformers import AutoConfig

    name = config.model.name
    if isinstance(name, (str, os.PathLike)):
        adapter = adapter_config(name) or {}
        token = config.model.token
        settings = AutoConfig.from_pretrained(
            located(os.fspath(adapter.get("base_model_name_or_path") or name)),
            revision=None if adapter else config.model.revision,
            token=token.get_secret_value() if token is not None else None,
            trust_remote_code=config.model.trust_remote_code,
        )
    else:
        settings = name.config
    return model_skeleton(settings, classifier=find(config.algorithm).head != "lm")


def _packed_elements(model: Any) -> int:
    """Elements of the weights that quantisation packs: all linear layers but the output layer."""
    from torch import nn

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    linear = (m for m in model.modules() if isinstance(m, nn.Linear) and m is not head)
    return sum(module.weight.numel() for module in linear)


def _frozen_bytes(config: Config, whole: int, packed: int) -> int:
    """Memory of weights that are not trained, in the format that they are loaded in."""
    each = _FLOAT32 if config.model.precision == "fp32" else _HALF
    quantization = config.model.quantization
    if quantization is None:
        return whole * each
    return round(packed * (_FOUR_BIT if quantization.load_in_4bit else 1)) + (whole - packed) * each


def _adapter_parameters(model: Any, config: Config) -> int:
    """The parameters that peft's adapter trains, put on the model to count them."""
    import torch
    from peft import LoraConfig, get_peft_model

    peft = config.peft
    targets = resolve_targets(model, peft, packed=config.model.quantization is not None)
    settings = LoraConfig(
        task_type="CAUSAL_LM"
        if find(config.algorithm).head == "lm"
        else "SEQ_CLS",  # the latter trains the head too
        r=peft.r,
        bias=peft.bias,
        use_dora=peft.use_dora,
        modules_to_save=peft.modules_to_save,
        layers_to_transform=peft.layers_to_transform,
        **targets.arguments(),
    )
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a real run says what of it matters
        adapted = get_peft_model(model, settings)
    return sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
