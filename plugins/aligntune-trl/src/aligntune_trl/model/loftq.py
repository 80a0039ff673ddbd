"""LoftQ (https://arxiv.org/abs/2310.08659): start the adapter at the error that 4-bit weights make.

One step of the paper's alternation, on a base quantised as usual, so that the saved adapter fits that base. peft's
``replace_lora_weights_loftq`` does the same on CUDA only, and as if the adapter were not scaled.
"""

from __future__ import annotations

from typing import Any

from aligntune_trl.model.source import hub_arguments


def initialise(model: Any, config: Any) -> None:
    """Set A and B of every adapted 4-bit layer to the best approximation of original minus quantised weight.

    Args:
        model: ``PeftModel`` on a base loaded in 4-bit.
        config: resolved configuration; ``model.name`` is read again, unquantised, in host memory.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from peft.tuners.lora import Linear4bit
    from transformers import AutoModelForCausalLM

    original = AutoModelForCausalLM.from_pretrained(
        config.model.name,
        dtype="auto",
        trust_remote_code=config.model.trust_remote_code,
        **hub_arguments(config, config.model.revision),
    )
    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, Linear4bit):
            continue
        quantised = layer.get_base_layer().weight
        held = dequantize_4bit(quantised.data, quantised.quant_state).float()
        exact = original.get_submodule(name).weight.detach().to(held.device).float()
        matrices = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        rank, scaling = layer.r["default"], layer.scaling["default"]
        with torch.no_grad():
            for matrix, start in zip(matrices, _factors((exact - held) / scaling, rank), strict=True):
                matrix.copy_(start)


def _factors(matrix: Any, rank: int) -> tuple[Any, Any]:
    """A and B with ``B @ A`` the best approximation of ``matrix`` of that rank, their norms balanced."""
    import torch

    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[:rank].sqrt()
    return root.unsqueeze(1) * right[:rank], left[:, :rank] * root
