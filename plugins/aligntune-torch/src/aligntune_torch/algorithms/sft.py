"""Supervised fine-tuning: cross-entropy of the completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from aligntune_torch.losses import Share, Sums, token_logps

if TYPE_CHECKING:
    from aligntune_core import LoadedModel


class Objective:
    """Negative log-likelihood, summed here and divided by the loss tokens of the whole global batch."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.policy = loaded.model

    def __call__(self, batch: dict[str, Any], share: Share) -> tuple[Tensor, Sums]:
        logps, mask, likeliest = token_logps(self.policy, batch)
        return -logps.sum() / share.tokens, {"token_accuracy": (float(likeliest.sum()), int(mask.sum()))}
