"""What every objective is made of: log-probabilities of tokens, and a micro-batch's share of its global batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

IGNORED = -100


@dataclass(frozen=True)
class Share:
    """What the loss of a micro-batch is divided by.

    Attributes:
        tokens: loss tokens of the whole global batch, or of all held-out rows.
        rows: rows, or pairs, in it.
    """

    tokens: int
    rows: int


Sums = Mapping[str, tuple[float, int]]
"""Figure -> sum over the tokens or pairs of a micro-batch, and their number."""


class Means:
    """Puts the figures of micro-batches together: each counts by what it holds."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._numbers: dict[str, int] = {}

    def add(self, figures: Sums) -> None:
        """Take in the sums of one micro-batch."""
        for name, (total, number) in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + total
            self._numbers[name] = self._numbers.get(name, 0) + number

    def means(self) -> dict[str, float]:
        """Figure -> mean."""
        return {name: total / max(self._numbers[name], 1) for name, total in self._sums.items()}


def share_of(batches: Iterable[Mapping[str, Tensor]], samples: int) -> Share:
    """What the losses of these micro-batches are divided by; a row has that many samples, the pair of DPO two."""
    labels = [batch["labels"] for batch in batches]
    return Share(
        sum(int((part[:, 1:] != IGNORED).sum()) for part in labels), sum(map(len, labels)) // samples
    )


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
