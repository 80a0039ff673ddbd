"""An evaluation by several processes, with the figures that one process gives.

Left alone, transformers fills the last batches up with rows from the front, and their loss counts; TRL takes a figure's
mean over what all processes have at once, which is another number than the mean over batches that one process takes.
Here the batches are those of one process, dealt out in turn; each process keeps the figures of its batches to itself,
and at the end all are put together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def share(trainer: Any) -> None:
    """Have the processes of a run share the evaluations of ``trainer``, those during training included.

    A trainer that evaluates in a way of its own (PPO, GRPO), and one that trains alone, is left as it is.
    """
    from transformers import Trainer

    own_way = type(trainer).evaluation_loop is not Trainer.evaluation_loop or not hasattr(trainer, "_metrics")
    if trainer.args.world_size > 1 and not own_way:
        shared = SharedEvaluation(trainer)
        trainer.get_eval_dataloader, trainer.evaluation_loop = shared.dataloader, shared.evaluation_loop


class SharedEvaluation:
    """Stands for two methods of a trainer, whose own it calls.

    Args:
        trainer: a transformers ``Trainer`` of TRL, which keeps figures of each batch in ``_metrics``.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._whole: Callable[..., Any] = trainer.get_eval_dataloader
        self._loop: Callable[..., Any] = trainer.evaluation_loop

    def dataloader(self, eval_dataset: Any = None) -> Share:
        """This process's batches of ``eval_dataset``, by default of the run's held-out rows."""
        with replaced(self._trainer.accelerator, prepare=lambda loader: loader):
            whole = self._whole(eval_dataset)
        return Share(whole, self._trainer.args, self._trainer._metrics["eval"])

    def evaluation_loop(self, dataloader: Share, *arguments: Any, **named: Any) -> Any:
        """transformers' loop over this process's batches; loss and figures are of the batches of all processes."""
        from accelerate.utils import gather_object

        trainer, figures = self._trainer, self._trainer._metrics["eval"]
        losses: list[float] = []

        def kept(loss: Any) -> Any:
            """Takes a batch's loss, once a row; gives back nothing, and after the last batch the losses of all rows."""
            if not dataloader.surplus:
                losses.extend(loss[: dataloader.rows].tolist())
            return loss.new_tensor(gather_object(losses)) if dataloader.last else loss[:0]

        def alone(values: Any, *_: Any, **__: Any) -> Any:
            return values

        trainer.gather_function = kept
        try:
            with (
                replaced(trainer.accelerator, gather=alone, gather_for_metrics=alone),
                # A batch's loss is by its own tokens, which transformers would count in all processes.
                replaced(trainer.args, average_tokens_across_devices=False),
            ):
                output = self._loop(dataloader, *arguments, **named)
        finally:
            trainer.gather_function = trainer.accelerator.gather_for_metrics
        parts = gather_object([dataloader.counted(figures)])
        figures.clear()
        for part in parts:
            for name, values in part.items():
                figures[name].extend(values)
        return output


class Share:
    """Every W-th batch of the rows, W being the number of processes.

    All processes go through equally many batches, because the forward pass of a sharded model needs them all: one that
    would have a batch less takes the first over again, and what comes of it does not count.

    Args:
        whole: transformers' loader of all rows, as one process has it.
        args: the trainer's arguments.
        figures: name -> values of each batch, to which the trainer adds while it goes through the batches.
    """

    def __init__(self, whole: Any, args: Any, figures: dict[str, list[float]]) -> None:
        from accelerate.utils import broadcast_object_list

        batches = [list(batch) for batch in whole.batch_sampler]
        broadcast_object_list(batches)  # rows grouped by length may be drawn
        self._batches = batches[args.process_index :: args.world_size]
        self._own = len(self._batches)
        self._batches += batches[:1] * (math.ceil(len(batches) / args.world_size) - self._own)
        self._whole, self._figures = whole, figures
        self._number = -1
        self._before: dict[str, int] | None = None
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
            if self.surplus:
                self._before = {name: len(values) for name, values in self._figures.items()}
            yield batch

    @property
    def rows(self) -> int:
        """Rows of the batch at hand."""
        return len(self._batches[self._number])

    @property
    def surplus(self) -> bool:
        """Whether the batch at hand is one that does not count."""
        return self._number >= self._own

    @property
    def last(self) -> bool:
        """Whether the batch at hand is this process's last."""
        return self._number + 1 == len(self._batches)

    def counted(self, figures: dict[str, list[float]]) -> dict[str, list[float]]:
        """The figures without those of a batch that does not count."""
        if self._before is None:
            return dict(figures)
        before = self._before
        return {name: values[: before[name]] for name, values in figures.items() if name in before}


@contextmanager
def replaced(owner: Any, **attributes: Any) -> Iterator[None]:
    """Let values stand for attributes of one object, its methods among them, while the block runs."""
    own = vars(owner)
    before = {name: own[name] for name in attributes if name in own}
    own.update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del own[name]
        own.update(before)
