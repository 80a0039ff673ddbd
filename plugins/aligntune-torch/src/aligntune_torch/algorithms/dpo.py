"""Direct preference optimisation, sigmoid loss (https://arxiv.org/abs/2305.18290, equation 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aligntune_torch.losses import Share, Sums, token_logps

if TYPE_CHECKING:
    from aligntune_core import LoadedModel


class Objective:
    """Mean over the pairs of the global batch.

    Args:
        loaded: the policy, and the reference where it is a model of its own; else it is the policy without its adapter.
        beta: strength of the KL constraint.
        disable_dropout: switch dropout off in both.
    """

    def __init__(self, loaded: LoadedModel, beta: float, disable_dropout: bool) -> None:
        self.policy, self.reference = loaded.model, loaded.roles.get("reference")
        self.beta, self.disable_dropout = beta, disable_dropout
        for model in (self.policy, self.reference) if disable_dropout else ():
            for module in () if model is None else model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0

    def __call__(self, batch: dict[str, Any], share: Share) -> tuple[Tensor, Sums]:
        logps = token_logps(self.policy, batch)[0].sum(1)
        # Of each completion, first all chosen, then all rejected ones.
        chosen, rejected = (self.beta * (logps - self._reference_logps(batch))).chunk(2)
        margin = chosen - rejected
        figures = {
            "reward_margin": (float(margin.detach().sum()), len(margin)),
            "reward_accuracy": (float((margin > 0).sum()), len(margin)),
        }
        return -F.logsigmoid(margin).sum() / share.rows, figures

    @torch.no_grad()
    def _reference_logps(self, batch: dict[str, Any]) -> Tensor:
        if self.reference is not None:
            return token_logps(self.reference, batch)[0].sum(1)
        with self.policy.disable_adapter():
            return token_logps(self.policy, batch)[0].sum(1)
