"""Early stopping by the held-out loss, as transformers' EarlyStoppingCallback has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Patience:
    """Whether the held-out loss still gets better.

    Attributes:
        limit: evaluations in a row without a better loss that end the run; None: none do.
        threshold: by how much a loss has to be below the best to count as better.
        best: lowest loss so far.
        waited: evaluations since the last better one.
    """

    limit: int | None
    threshold: float
    best: float | None = None
    waited: int = 0

    def see(self, loss: float) -> None:
        """Take the loss of one evaluation."""
        better = self.best is None or self.best - loss > self.threshold
        self.waited = 0 if better else self.waited + 1
        self.best = loss if self.best is None else min(self.best, loss)

    @property
    def over(self) -> bool:
        """Whether the run ends."""
        return self.limit is not None and self.waited >= self.limit

    @property
    def seen(self) -> dict[str, Any]:
        """What a checkpoint keeps of it; the settings are those of the run that goes on."""
        return {"best": self.best, "waited": self.waited}
