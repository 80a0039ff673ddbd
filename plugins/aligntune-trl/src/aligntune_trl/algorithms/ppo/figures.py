"""Figures of an update: sums and counts that add up over micro-batches, processes and updates."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from aligntune_trl.algorithms.ppo.objective import Reduce


class Figures:
    """Named means, each kept as a sum and a count."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor, mask: Tensor | None = None) -> None:
        """Take ``values`` into the mean ``name``, those outside ``mask`` left out."""
        values = values.detach().double()
        counted = torch.ones_like(values) if mask is None else mask.to(values.dtype)
        pair = torch.stack([(values * counted).sum(), counted.sum()])
        self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def extend(self, others: Iterable[Figures]) -> Figures:
        """Take others' sums in, and return self."""
        for other in others:
            for name, pair in other._sums.items():
                self._sums[name] = self._sums[name] + pair if name in self._sums else pair
        return self

    def gathered(self, reduce: Reduce) -> Figures:
        """The same over all processes, each of which must hold the same names."""
        result = Figures()
        if self._sums:
            names = sorted(self._sums)
            total = reduce(torch.stack([self._sums[name] for name in names]))
            result._sums = dict(zip(names, total, strict=True))
        return result

    def mean(self, name: str) -> float:
        """The mean ``name``; 0 where nothing was counted."""
        total, count = self._sums[name].tolist()
        return total / count if count else 0.0

    def means(self) -> dict[str, float]:
        """All means."""
        return {name: self.mean(name) for name in self._sums}
