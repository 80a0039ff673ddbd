"""Do rows that are packed into one sequence stay apart? Only where the model tells them by their positions."""

from __future__ import annotations

from typing import Any

from aligntune_core.toolkit import ConfigError

_LENGTH = 6


def check(model: Any) -> None:
    """Put two rows into one sequence, change the first, and look whether the second one's logits change.

    Args:
        model: the policy, on its device.

    Raises:
        ConfigError: they do: its attention, or its state, runs on across rows.
    """
    import torch

    device, training = next(model.parameters()).device, model.training
    firsts, second = torch.arange(2 * _LENGTH).reshape(2, 1, _LENGTH) + 2, torch.arange(_LENGTH)[None] + 2
    positions = torch.arange(_LENGTH).repeat(2)[None].to(device)
    model.eval()
    try:
        with torch.no_grad():
            one, other = (
                model(
                    input_ids=torch.cat([first, second], 1).to(device),
                    position_ids=positions,
                    use_cache=False,
                ).logits[0, _LENGTH:]
                for first in firsts
            )
    finally:
        model.train(training)
    # The same shapes, so the same kernels: what does not see the first row comes out the same but for the last bits.
    rounding = 4 * torch.finfo(one.dtype).eps * one.abs().max()
    if (one - other).abs().max() > rounding:
        raise ConfigError(
            f"packing: in a {model.config.model_type} a row would see the rows before it in its sequence, since it "
            "does not tell them apart by position_ids. Leave packing out"
        )
