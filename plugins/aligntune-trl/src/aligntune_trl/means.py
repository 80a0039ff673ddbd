"""Loss and figures as means over tokens, pairs or rows, however those are cut into micro-batches.

TRL takes the mean of a micro-batch, and of several the mean of their means: a batch of one pair then counts as much as
one of eight. Here each counts by what it holds: in the gradient of an optimiser step whose loss is a mean of each
micro-batch, in the figures that are logged, and in evaluations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aligntune_trl.algorithms.recipe import Counts

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
        self._even = 0.0
        self.weights: dict[str, Weights] = {"train": defaultdict(list), "eval": defaultdict(list)}
        """Of the figures in the trainer's ``_metrics``, and of ``losses``."""
        self.losses: list[float] = []
        """Loss of each micro-batch of the evaluation that runs."""
        trainer.compute_loss, trainer.log = self.compute_loss, self.log
        trainer.get_batch_samples = self.get_batch_samples

    # --- what stands for the trainer's methods ------------------------------------------------------------------------

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        """The micro-batches of an optimiser step, counted."""
        batches, items = self._batch_samples(*arguments, **named)
        if batches and items is None:
            self._even = self._mean_count([_count("loss", self._counts.of(batch)) for batch in batches])
        return batches, items

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss; in training its share of the step's mean, times the micro-batches that transformers divides by."""
        mode = "train" if self._trainer.model.training else "eval"
        counts = self._counts.of(inputs)
        figures = self._trainer._metrics[mode]
        before = {name: len(values) for name, values in figures.items()}
        answer = self._compute_loss(
            model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )
        for name, values in figures.items():
            if name != TOTAL and len(values) > before.get(name, 0):
                self.weights[mode][name].append(_count(name, counts))
        loss = answer[0] if return_outputs else answer
        count = _count("loss", counts)
        if mode == "eval":
            self.losses.append(float(loss.detach()))
            self.weights[mode]["loss"].append(count)
        elif num_items_in_batch is None and count != self._even:
            loss = loss * (count / self._even)
        return (loss, answer[1]) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with TRL's figures since the last log put together."""
        if self._trainer.model.training:
            self._put_together("train", self._summed(self.weights["train"]))
        self._log(logs, start_time)

    # --- evaluations --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """An evaluation starts; what one before it left when it was broken off is forgotten."""
        self.losses.clear()
        self.weights["eval"].clear()
        self._trainer._metrics["eval"].clear()

    def end(self, parts: Iterable[tuple[list[float], Mapping[str, list[float]], Weights]]) -> float:
        """An evaluation is over: put its figures together.

        Args:
            parts: of each process, what it has in ``losses``, in the trainer's figures and in the weights.

        Returns:
            float: the mean loss.
        """
        losses: list[float] = []
        figures, weights = self._trainer._metrics["eval"], self.weights["eval"]
        parts = list(parts)
        figures.clear()
        weights.clear()
        for own_losses, own_figures, own_weights in parts:
            losses.extend(own_losses)
            for name, values in own_figures.items():
                figures[name].extend(values)
            for name, numbers in own_weights.items():
                weights[name].extend(numbers)
        loss = mean(losses, weights.pop("loss", []))
        self._put_together("eval", weights)
        return loss

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

    def _mean_count(self, counts: list[int]) -> float:
        """Mean over the micro-batches of all processes."""
        trainer = self._trainer
        total = sum(counts)
        if trainer.args.world_size > 1:
            import torch

            numbers = torch.tensor([total, len(counts)], device=trainer.args.device)
            total, number = trainer.accelerator.reduce(numbers, reduction="sum").tolist()
            return float(total / max(number, 1)) or 1.0
        return total / len(counts) or 1.0

    def _summed(self, weights: Weights) -> Weights:
        """The counts of each micro-batch over all processes, as TRL gathers its figures; all log at once."""
        if self._trainer.args.world_size == 1:
            return weights
        from accelerate.utils import gather_object

        parts = gather_object([dict(weights)])
        return {name: [sum(each) for each in zip(*(p[name] for p in parts), strict=True)] for name in weights}

    def _put_together(self, mode: str, weights: Weights) -> None:
        figures, counts = self._trainer._metrics[mode], self._counts
        for name, numbers in weights.items():
            values = figures.get(name)
            if not values:
                continue
            end = counts.ends.get(name)
            figures[name] = [mean(values, numbers) if end is None else end(values)]
        for name, (first, second) in counts.differences.items():
            if figures.get(first) and figures.get(second):  # no batch need have held both
                figures[name] = [figures[first][0] - figures[second][0]]
        self.weights[mode].clear()


def mean(values: list[float], weights: list[int]) -> float:
    """Mean of ``values``, each by its weight; that of equal weights is TRL's own to the last bit."""
    if len(set(weights)) <= 1 or not sum(weights):
        return sum(values) / max(len(values), 1)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _count(name: str, counts: Mapping[str, int]) -> int:
    return counts.get(name, counts[""])
