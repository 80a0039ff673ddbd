"""What every objective is made of: log-probabilities of tokens, and a micro-batch's share of its global batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

IGNORED = -100


@dataclass(frozen=True)
class Share:
    """What the loss of a micro-batch is divided by.

    Attributes:
        tokens: loss tokens of the whole global batch.
        micro_batches: micro-batches in it.
    """

    tokens: int
    micro_batches: int = 1


def loss_tokens(*batches: dict[str, Tensor]) -> int:
    """How many tokens of these micro-batches are learnt."""
    return sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in batches)


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
