"""The two losses, on log-probabilities of tokens."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

IGNORED = -100


def token_logps(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of each next token.

    Args:
        model: a causal language model.
        batch: ``input_ids``, ``attention_mask`` and ``labels``, each (rows, tokens); labels are -100 where no loss is.

    Returns:
        logps (rows, tokens - 1), zero where no loss is; mask (rows, tokens - 1); whether the token was the likeliest.
    """
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    logits = model(**inputs, use_cache=False).logits[:, :-1].float()
    labels = batch["labels"][:, 1:]
    mask = labels != IGNORED
    target = labels.masked_fill(~mask, 0)
    logps = logits.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return logps * mask, mask, (logits.argmax(-1) == target) & mask


def sft_loss(logps: Tensor, tokens: int) -> Tensor:
    """Negative log-likelihood, summed here and divided by the loss tokens of the whole global batch."""
    return -logps.sum() / tokens


def dpo_loss(policy: Tensor, reference: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Direct preference optimisation, sigmoid loss (https://arxiv.org/abs/2305.18290, equation 7).

    Args:
        policy: log-probability of each completion, (2 x pairs,): first all chosen, then all rejected ones.
        reference: the same under the reference policy.
        beta: strength of the KL constraint.

    Returns:
        loss, mean over the pairs; margin between the implicit rewards, (pairs,).
    """
    chosen, rejected = (beta * (policy - reference)).chunk(2)
    margin = chosen - rejected
    return -F.logsigmoid(margin).mean(), margin.detach()
