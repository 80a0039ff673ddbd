"""An evaluation whose loss and figures are means over all tokens, pairs or rows, by one process or by several.

Left alone, transformers counts the last batch as a full one, and with several processes fills the last batches up with
rows from the front. Here each batch counts by what it holds (``means``), and the batches are those of one process,
dealt out in turn; each process keeps the figures of its batches to itself, and at the end all are put together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from aligntune_trl.algorithms.recipe import Counts
from aligntune_trl.means import Means
from aligntune_trl.replacing import replaced


def attach(trainer: Any, counts: Counts) -> Means | None:
    """Have ``trainer`` weigh what it trains on and evaluates, evaluations during training included.

    A trainer that evaluates in a way of its own (PPO, GRPO) is left as it is; the answer is None then.
    """
    from transformers import Trainer

    own_way = type(trainer).evaluation_loop is not Trainer.evaluation_loop or not hasattr(trainer, "_metrics")
    if own_way:
        return None
    means = Means(trainer, counts)
    evaluation = Evaluation(trainer, means)
    trainer.evaluation_loop = evaluation.loop
    if trainer.args.world_size > 1:
        trainer.get_eval_dataloader = evaluation.dataloader
    return means


class Evaluation:
    """Stands for two methods of a trainer, whose own it calls.

    Args:
        trainer: a transformers ``Trainer`` of TRL, which keeps figures of each batch in ``_metrics``.
        means: weighs its batches.
    """

    def __init__(self, trainer: Any, means: Means) -> None:
        self._trainer, self._means = trainer, means
        self._whole: Callable[..., Any] = trainer.get_eval_dataloader
        self._loop: Callable[..., Any] = trainer.evaluation_loop

    def dataloader(self, eval_dataset: Any = None) -> Share:
        """This process's batches of ``eval_dataset``, by default of the run's held-out rows."""
        with replaced(self._trainer.accelerator, prepare=lambda loader: loader):
            whole = self._whole(eval_dataset)
        return Share(whole, self._trainer.args)

    def loop(self, dataloader: Any, *arguments: Any, metric_key_prefix: str = "eval", **named: Any) -> Any:
        """transformers' loop over this process's batches; loss and figures are of the batches of all processes."""
        means = self._means
        means.begin()
        with self._apart(dataloader) if isinstance(dataloader, Share) else nullcontext():
            output = self._loop(dataloader, *arguments, metric_key_prefix=metric_key_prefix, **named)
        loss = means.end()
        if f"{metric_key_prefix}_loss" in output.metrics:
            output.metrics[f"{metric_key_prefix}_loss"] = loss
        return output

    @contextmanager
    def _apart(self, dataloader: Share) -> Iterator[None]:
        """No process sees another's batches, and one that does not count leaves nothing."""
        trainer, means = self._trainer, self._means
        compute_loss = trainer.compute_loss

        def alone(values: Any, *_: Any, **__: Any) -> Any:
            return values

        def counted(*arguments: Any, **named: Any) -> Any:
            before = {name: len(values) for name, values in trainer._metrics["eval"].items()}
            loss = compute_loss(*arguments, **named)
            if dataloader.surplus:
                means.forget_last(before)
            return loss

        trainer.gather_function = alone
        try:
            with (
                replaced(trainer, compute_loss=counted),
                replaced(trainer.accelerator, gather=alone, gather_for_metrics=alone),
                # A batch's loss is by its own tokens, which transformers would count in all processes.
                replaced(trainer.args, average_tokens_across_devices=False),
            ):
                yield
        finally:
            trainer.gather_function = trainer.accelerator.gather_for_metrics


class Share:
    """Every W-th batch of the rows, W being the number of processes.

    All processes go through equally many batches, because the forward pass of a sharded model needs them all: one that
    would have a batch less takes the first over again, and what comes of it does not count.

    Args:
        whole: transformers' loader of all rows, as one process has it.
        args: the trainer's arguments.
    """

    def __init__(self, whole: Any, args: Any) -> None:
        from accelerate.utils import broadcast_object_list

        batches = [list(batch) for batch in whole.batch_sampler]
        broadcast_object_list(batches)  # rows grouped by length may be drawn
        self._batches = batches[args.process_index :: args.world_size]
        self._own = len(self._batches)
        self._batches += batches[:1] * (math.ceil(len(batches) / args.world_size) - self._own)
        self._whole = whole
        self._number = -1
        self.dataset = whole.dataset

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        from torch.utils.data import DataLoader

        whole = self._whole
        loader = DataLoader(
            whole.dataset,
            batch_sampler=self._batches,
            collate_fn=whole.collate_fn,
            num_workers=whole.num_workers,
            pin_memory=whole.pin_memory,
            multiprocessing_context=whole.multiprocessing_context,
            prefetch_factor=whole.prefetch_factor,
        )
        for self._number, batch in enumerate(loader):
            yield batch

    @property
    def surplus(self) -> bool:
        """Whether the batch at hand is one that does not count."""
        return self._number >= self._own
