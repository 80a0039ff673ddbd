"""The reference policy: the policy as it was when training began.

Three ways, in the order tried: a model given explicitly; the policy with its adapter off, where that adapter changes
nothing yet; a frozen copy of the adapter, where it changes something already. The last two hold no second backbone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from aligntune_trl.model.adapter import REFERENCE


def adapter_is_neutral(policy: Any) -> bool:
    """Whether the active LoRA adapter changes nothing, as a fresh one.

    PiSSA and LoftQ start with other values and change the base: not neutral.
    """
    factors = [p for n, p in policy.named_parameters() if "lora_B." in n or "lora_embedding_A." in n]
    return bool(factors) and not any(bool(factor.detach().any()) for factor in factors)


def freeze_adapter_copy(policy: Any) -> None:
    """Add a frozen copy of the active adapter, named ``REFERENCE``, to a PEFT model."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    active = policy.active_adapter
    config = copy.deepcopy(policy.peft_config[active])
    # Its weights are overwritten below; PiSSA and the like would split the base's a second time.
    config.init_lora_weights = False
    weights = get_peft_model_state_dict(policy, adapter_name=active)
    policy.add_adapter(REFERENCE, config)
    set_peft_model_state_dict(policy, weights, adapter_name=REFERENCE)
    policy.set_adapter(active)


class Reference:
    """Hands out the reference policy for the length of a ``with`` block.

    Args:
        policy: the policy at the start of training.
        model: a reference model of its own; required where no adapter can stand for it.

    Raises:
        ValueError: a model is needed and not given, or it is the policy itself.
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
        elif policy.active_peft_config.bias != "none":
            raise ValueError(
                "biases that train beside an adapter stay on when it is off: pass ref_model, a frozen copy"
            )
        elif REFERENCE not in policy.peft_config and not adapter_is_neutral(policy):
            freeze_adapter_copy(policy)

    @property
    def kind(self) -> str:
        """ "model", "adapter off" or "frozen adapter"."""
        if self._model is not None:
            return "model"
        return "frozen adapter" if REFERENCE in self._policy.peft_config else "adapter off"

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
        active = policy.active_adapter
        try:
            if self.kind == "adapter off":
                with policy.disable_adapter():
                    yield policy
            else:
                policy.set_adapter(REFERENCE)
                yield policy
        finally:
            policy.set_adapter(active)
            for parameter, flag in flags:
                parameter.requires_grad_(flag)


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout of ``model`` to 0: with dropout the importance ratio would not start at 1."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for attribute in ("attention_dropout", "dropout", "activation_dropout"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
