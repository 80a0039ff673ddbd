"""The reference policy: the policy as it was when training began.

Three ways, in the order tried: a model given explicitly; the policy with its adapter off, where that adapter changes
nothing yet; a frozen copy of the adapter, where it was trained before. The last two hold no second backbone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

FROZEN_ADAPTER = "reference"


def adapter_is_neutral(policy: Any) -> bool:
    """Whether the active LoRA adapter changes nothing: all its B matrices are 0, as in a fresh one.

    PiSSA and LoftQ start with other values and change the base: not neutral.
    """
    weights = [p for name, p in policy.named_parameters() if "lora_B." in name or "lora_embedding_B." in name]
    return bool(weights) and not any(bool(weight.detach().any()) for weight in weights)


def freeze_adapter_copy(policy: Any) -> None:
    """Add a frozen copy of the active adapter, named ``FROZEN_ADAPTER``, to a PEFT model."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    active = policy.active_adapter
    config = copy.deepcopy(policy.peft_config[active])
    # Its weights are overwritten below; PiSSA and the like would change the base's a second time.
    config.init_lora_weights = False
    weights = get_peft_model_state_dict(policy, adapter_name=active)
    policy.add_adapter(FROZEN_ADAPTER, config)
    set_peft_model_state_dict(policy, weights, adapter_name=FROZEN_ADAPTER)
    policy.set_adapter(active)
    for name, parameter in policy.named_parameters():
        if f".{FROZEN_ADAPTER}" in name:
            parameter.requires_grad_(False)


class Reference:
    """Hands out the reference policy for the length of a ``with`` block.

    Args:
        policy: the policy at the start of training.
        model: a reference model of its own; required where the policy has no adapter.

    Raises:
        ValueError: the policy has no adapter and no model is given, or the model is the policy itself.
    """

    def __init__(self, policy: Any, model: nn.Module | None = None) -> None:
        self._policy = policy
        self._model = model
        if model is policy:
            raise ValueError("ref_model is the policy itself: it would follow every update; pass a copy")
        if model is not None:
            model.requires_grad_(False).eval()
        elif not hasattr(policy, "peft_config"):
            raise ValueError("a policy without an adapter needs ref_model, a frozen copy of it")
        elif FROZEN_ADAPTER not in policy.peft_config and not adapter_is_neutral(policy):
            freeze_adapter_copy(policy)
        elif policy.active_peft_config.bias != "none":
            # Switching the adapter off leaves trained biases on.
            freeze_adapter_copy(policy)

    @property
    def kind(self) -> str:
        """ "model", "adapter off" or "frozen adapter"."""
        if self._model is not None:
            return "model"
        return "frozen adapter" if FROZEN_ADAPTER in self._policy.peft_config else "adapter off"

    def to(self, device: torch.device) -> None:
        """Move a model of its own to ``device``; a quantised one stays where it was loaded."""
        if self._model is not None and getattr(self._model, "quantization_method", None) is None:
            self._model.to(device)

    @contextmanager
    def policy(self) -> Iterator[nn.Module]:
        """The reference, ready to be called."""
        if self._model is not None:
            yield self._model
            return
        policy = self._policy
        # PEFT's switches set requires_grad as they please: put back what was there.
        flags = [(parameter, parameter.requires_grad) for parameter in policy.parameters()]
        try:
            if FROZEN_ADAPTER in policy.peft_config:
                active = policy.active_adapter
                policy.set_adapter(FROZEN_ADAPTER)
                try:
                    yield policy
                finally:
                    policy.set_adapter(active)
            else:
                with policy.disable_adapter():
                    yield policy
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout of ``model`` to 0, but for an adapter's own, which only a user's setting makes positive.

    With dropout the importance ratio would not start at 1.
    """
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            continue
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for attribute in ("attention_dropout", "dropout", "activation_dropout"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
