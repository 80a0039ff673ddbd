"""Loss and figures as means over tokens, pairs or rows, however those are cut into micro-batches.

TRL takes the mean of a micro-batch, and of several the mean of their means: a batch of one pair then counts as much as
one of eight. Here each counts by what it holds: in the gradient of an optimiser step whose loss is a mean of each
micro-batch, in the figures that are logged, and in evaluations.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from aligntune_trl.algorithms.recipe import Counts
from aligntune_trl.dealing import Dealing
from aligntune_trl.replacing import replaced

Weights = dict[str, list[int]]
"""Figure -> what each of its values since the last log is the mean of."""

TOTAL = "num_tokens"
"""The one figure of TRL that is a running total."""


class Means:
    """Stands for three methods of a trainer, whose own it calls.

    Args:
        trainer: a transformers ``Trainer`` of TRL, which keeps figures of each micro-batch in ``_metrics``.
        counts: what those are means over.
    """

    def __init__(self, trainer: Any, counts: Counts) -> None:
        self._trainer, self._counts = trainer, counts
        self._compute_loss, self._log = trainer.compute_loss, trainer.log
        self._batch_samples = trainer.get_batch_samples
        self._dealing = Dealing(trainer) if trainer.args.world_size > 1 else None
        self._even = 0.0
        self._pending: deque[int] = deque()
        self._own_tokens = 0
        self.weights: dict[str, Weights] = {"train": defaultdict(list), "eval": defaultdict(list)}
        """Of the figures in the trainer's ``_metrics``, and of ``losses``."""
        self.losses: list[float] = []
        """Loss of each micro-batch of the evaluation that runs."""
        trainer.compute_loss, trainer.log = self.compute_loss, self.log
        trainer.get_batch_samples = self.get_batch_samples

    # --- what stands for the trainer's methods ------------------------------------------------------------------------

    def get_batch_samples(self, batches: Any, *arguments: Any, **named: Any) -> Any:
        """The micro-batches of an optimiser step, counted."""
        dealing = self._dealing
        read, items = self._batch_samples(dealing.read(batches) if dealing else batches, *arguments, **named)
        self._pending = deque(_count("loss", self._counts.of(batch)) for batch in read)
        if read and dealing and dealing.at_surplus:
            self._pending[-1] = 0
        if read and items is None:
            self._even = self._mean_count(self._pending)
        return read, items

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss; in training its share of the step's mean, times the micro-batches that transformers divides by."""
        mode = "train" if self._trainer.model.training else "eval"
        counts = self._counts.of(inputs)
        count = self._pending.popleft() if mode == "train" and self._pending else _count("loss", counts)
        figures = self._trainer._metrics[mode]
        before = {name: len(values) for name, values in figures.items()}
        with self._apart() if mode == "train" else nullcontext():
            answer = self._compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        for name, values in figures.items():
            if name != TOTAL and len(values) > before.get(name, 0):
                self.weights[mode][name].append(_count(name, counts) if count else 0)
        loss = answer[0] if return_outputs else answer
        if mode == "eval":
            self.losses.append(float(loss.detach()))
            self.weights[mode]["loss"].append(count)
        elif num_items_in_batch is None and count != self._even:
            loss = loss * (count / self._even)
        if mode == "train" and self._dealing:
            self._count_tokens(bool(count))
        return (loss, answer[1]) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with TRL's figures since the last log put together."""
        if self._trainer.model.training:
            self._gather("train")
        self._log(logs, start_time)

    # --- evaluations --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """An evaluation starts; what one before it left when it was broken off is forgotten."""
        self.losses.clear()
        self.weights["eval"].clear()
        self._trainer._metrics["eval"].clear()

    def end(self) -> float:
        """An evaluation is over: put its figures together.

        Returns:
            float: the mean loss, over the batches of all processes.
        """
        figures = self._trainer._metrics["eval"]
        figures["loss"] = self.losses
        self._gather("eval")
        return float(next(iter(figures.pop("loss", [])), 0.0))

    def forget_last(self, kept: Mapping[str, int]) -> None:
        """Take back what the last micro-batch added, which does not count; ``kept``: figure -> values before it."""
        figures = self._trainer._metrics["eval"]
        for name, values in figures.items():
            if len(values) > kept.get(name, 0):
                values.pop()
                if name != TOTAL:
                    self.weights["eval"][name].pop()
        self.losses.pop()
        self.weights["eval"]["loss"].pop()

    # --- numbers ------------------------------------------------------------------------------------------------------

    def _mean_count(self, counts: Collection[int]) -> float:
        """Mean over the micro-batches of all processes."""
        total, number = self._total(sum(counts), len(counts))
        return total / number or 1.0

    def _total(self, *numbers: int) -> list[int]:
        """Sum over the processes."""
        if not self._dealing:
            return list(numbers)
        import torch

        trainer = self._trainer
        values = torch.tensor(numbers, device=trainer.args.device)
        total: list[int] = trainer.accelerator.reduce(values, reduction="sum").tolist()
        return total

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Each process keeps the figures of its micro-batches, which need not be of equal size, to itself."""
        if not self._dealing:
            yield
            return
        trainer = self._trainer
        tokens = trainer._total_train_tokens
        with replaced(trainer.accelerator, gather=_alone, gather_for_metrics=_alone):
            yield
        self._own_tokens, trainer._total_train_tokens = trainer._total_train_tokens - tokens, tokens

    def _count_tokens(self, counted: bool) -> None:
        """Tokens of all processes; TRL has counted those of this one."""
        trainer = self._trainer
        trainer._total_train_tokens += self._total(self._own_tokens if counted else 0)[0]
        trainer._metrics["train"][TOTAL] = [trainer._total_train_tokens]

    def parts(self, mode: str) -> list[tuple[dict[str, list[float]], Weights]]:
        """Figures and weights since the last log, of each process; all have to ask at once."""
        figures = {name: list(values) for name, values in self._trainer._metrics[mode].items()}
        own = (figures, dict(self.weights[mode]))
        if not self._dealing:
            return [own]
        from accelerate.utils import gather_object

        gathered: list[tuple[dict[str, list[float]], Weights]] = gather_object([own])
        return gathered

    def take(self, mode: str, parts: Iterable[tuple[Mapping[str, list[float]], Weights]]) -> None:
        """Have these figures and weights as the ones since the last log."""
        figures, weights = self._trainer._metrics[mode], self.weights[mode]
        total = figures.get(TOTAL)
        figures.clear()
        weights.clear()
        for own_figures, own_weights in parts:
            for name, values in own_figures.items():
                figures[name].extend(values)
            for name, numbers in own_weights.items():
                weights[name].extend(numbers)
        if total is not None:
            figures[TOTAL] = total

    def _gather(self, mode: str) -> None:
        if self._dealing:
            self.take(mode, self.parts(mode))
        self._put_together(mode, self.weights[mode])

    def _put_together(self, mode: str, weights: Weights) -> None:
        figures, counts = self._trainer._metrics[mode], self._counts
        for name, numbers in weights.items():
            values = figures.get(name)
            if not values:
                continue
            end = counts.ends.get(name)
            counted = [value for value, number in zip(values, numbers, strict=True) if number]
            if not counted:  # of a row that does not count
                del figures[name]
                continue
            figures[name] = [mean(values, numbers) if end is None else end(counted)]
        for name, (first, second) in counts.differences.items():
            if figures.get(first) and figures.get(second):  # no batch need have held both
                figures[name] = [figures[first][0] - figures[second][0]]
        self.weights[mode].clear()


def mean(values: list[float], weights: list[int]) -> float:
    """Mean of ``values``, each by its weight; that of equal weights is TRL's own to the last bit."""
    if len(set(weights)) == 1:
        return sum(values) / len(values)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _alone(values: Any, *_: Any, **__: Any) -> Any:
    return values


def _count(name: str, counts: Mapping[str, int]) -> int:
    return counts.get(name, counts[""])
