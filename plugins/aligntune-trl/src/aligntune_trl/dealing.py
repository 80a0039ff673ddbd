"""The micro-batches of one process dealt out to several, without rows that count twice at the end of an epoch.

accelerate fills the last micro-batches up with rows from the front, so that each process has equally many of equal
size. Here they stay as they are; a process that is left without one takes a row once more, which does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accelerate.data_loader import BatchSamplerShard

from aligntune_trl.replacing import replaced


class Dealt(BatchSamplerShard):  # type: ignore[misc]
    """Every W-th micro-batch, W being the number of processes."""

    @property
    def surplus(self) -> bool:
        """Whether this process's last micro-batch of an epoch is one that does not count."""
        left = len(self.batch_sampler) % self.num_processes
        return bool(0 < left <= self.process_index)

    def __iter__(self) -> Iterator[Any]:
        first: list[Any] = []
        for number, batch in enumerate(self.batch_sampler):
            first = first or batch
            if number % self.num_processes == self.process_index:
                yield batch
        if self.surplus:
            yield first[:1]


class Dealing:
    """Stands for a trainer's ``get_train_dataloader``, which it calls.

    Args:
        trainer: a transformers ``Trainer`` of a run of several processes.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._loader = trainer, trainer.get_train_dataloader
        self._dealt: Dealt | None = None
        trainer.get_train_dataloader = self.dataloader

    def dataloader(self) -> Any:
        """This process's micro-batches; streamed rows are dealt by accelerate as they come."""
        from accelerate import data_loader

        with replaced(data_loader, BatchSamplerShard=Dealt):
            loader = self._loader()
        sampler = getattr(loader, "batch_sampler", None)
        self._dealt = sampler if isinstance(sampler, Dealt) else None
        return loader

    @property
    def at_surplus(self) -> bool:
        """Whether the micro-batch that was read last is one that does not count."""
        ends = self._trainer.accelerator.gradient_state.end_of_dataloader
        return self._dealt is not None and self._dealt.surplus and bool(ends)

    def read(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Micro-batches as they come; of one that does not count no token is trained."""
        for batch in batches:
            if self.at_surplus:
                labels = {name: batch[name] for name in ("labels", "shift_labels") if name in batch}
                batch = {
                    **batch,
                    **{name: tokens.new_full(tokens.shape, -100) for name, tokens in labels.items()},
                }
            yield batch
