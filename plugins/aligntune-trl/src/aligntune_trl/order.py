"""The order of rows that are grouped by length: decided by ``data_seed`` and the epoch, and by nothing else.

transformers draws it from the global random state: dropout would change it, ``data_seed`` would not, and a resumed
epoch would be another permutation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

EPOCHS = 1_000_003
"""A prime: two seeds have no epoch's order in common."""


def attach(trainer: Any) -> None:
    """Have a trainer that groups rows by length draw their order from its own seed."""
    drawn = trainer._get_train_sampler

    def sampler(*arguments: Any, **named: Any) -> Any:
        theirs = drawn(*arguments, **named)
        return theirs if theirs is None else Grouped(theirs, trainer)

    trainer._get_train_sampler = sampler


class Grouped(Sampler[int]):  # type: ignore[misc]
    """transformers' sampler of rows grouped by length, with a generator of its own in each epoch.

    Args:
        sampler: transformers' ``LengthGroupedSampler``.
        trainer: its state says the epoch, also where a run goes on in the middle of one.
    """

    def __init__(self, sampler: Any, trainer: Any) -> None:
        self._sampler, self._trainer = sampler, trainer
        sampler.batch_size *= trainer.args.world_size  # rows of a step, as one process would have them

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        args, epoch = self._trainer.args, int(self._trainer.state.epoch or 0)
        seed = args.seed if args.data_seed is None else args.data_seed
        self._sampler.generator = torch.Generator().manual_seed((seed * EPOCHS + epoch) % 2**63)
        return iter(self._sampler)
