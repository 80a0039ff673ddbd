"""Watches a run from inside: which rows a step took, with which settings, and whether loss and gradient are right.

Everything is seen through torch itself (hooks on the input embedding and on every optimiser), so nothing depends on
what the backend says of itself; of an engine that has a probe, through that. Imports torch: only the worker process
uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from aligntune_core.testing.fixtures import rows
from aligntune_core.testing.probe import Probe, Update
from aligntune_core.testing.watch import contract
from aligntune_core.testing.watch.contract import Sample
from aligntune_core.testing.watch.losses import LOSSES, Loss


@dataclass
class Step:
    """One optimiser step, as it happened."""

    rows: list[Any] = field(default_factory=list)  # row numbers in the order seen, each once a micro-batch
    sequences: int = 0  # how many sequences went through the policy with gradient
    tokens: int = 0  # how many tokens those have, padding not counted
    strange: str = ""  # text of the first sequence whose tokens are not the contract's; empty where all are
    # settings of the optimiser for a trainable matrix: lr, betas, eps, weight_decay
    group: dict[str, Any] = field(default_factory=dict)
    grad_norm: float = 0.0  # norm of the gradient that the optimiser was given
    expected_loss: float | None = None  # the contract's loss of those rows under the weights of that moment
    # distance of the gradient from the contract's, before clipping, relative to its norm
    gradient_error: float | None = None
    expected_grad_norm: float | None = None  # norm of the contract's gradient


class Watch:
    """What every way of watching shares: the rows' samples, recognising them, and the ``steps`` taken meanwhile.

    Sequences of an algorithm without a loss by hand are counted and not recognised.
    """

    def __init__(
        self,
        tokenizer: Any,
        algorithm: str,
        data: Sequence[Mapping[str, Any]],
        config: Mapping[str, Any],
        after_step: Callable[[int], None],
    ) -> None:
        self.tokenizer, self.config = tokenizer, config
        self.steps: list[Step] = []
        self._rows, self._after_step = data, after_step
        self._loss = LOSSES.get(algorithm)
        judged = self._loss is not None
        self._samples = [contract.samples(row, tokenizer, config) if judged else [] for row in data]

    def _micro_batches(
        self, step: Step, batches: Sequence[Sequence[tuple[int, ...]]]
    ) -> list[list[list[Sample]]] | None:
        """The samples of each row, by micro-batch. None where some row is not whole, so that nothing can be compared.

        A micro-batch may take several forward passes: chosen and rejected answers apart.
        """
        needed = len(self._samples[0])
        micro: list[list[list[Sample]]] = []
        pending: dict[int | None, list[tuple[int, Sample]]] = {}
        for batch in batches:
            for ids in batch:
                row, index, sample = self._recognise(step, ids)
                pending.setdefault(row, []).append((index, sample))
            if all(len(parts) == needed for parts in pending.values()):
                step.rows += list(pending)
                ordered = [sorted(parts, key=lambda pair: pair[0]) for parts in pending.values()]
                micro.append([[sample for _, sample in parts] for parts in ordered])
                pending = {}
        step.rows += list(pending)
        return None if pending else micro

    def _recognise(self, step: Step, ids: tuple[int, ...]) -> tuple[int | None, int, Sample]:
        """The row of a sequence, which of its samples it is, and the sample.

        Where the tokens are not the contract's, as many of the last are taken for the loss as the contract has.
        """
        text = self.tokenizer.decode(list(ids))
        row = rows.row_of(text)
        own = self._samples[row] if row is not None and row < len(self._samples) else []
        for index, sample in enumerate(own):
            if sample.ids == ids:
                return row, index, sample
        step.strange = step.strange or text
        length = len(own[0].ids) - own[0].start if own else len(ids)
        return row, len(own), Sample(ids, max(0, len(ids) - length))


class ProbeObserver(Watch):
    """Watches through the engine's probe; see ``Watch`` for the other arguments."""

    def __init__(self, probe: Probe, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._probe = probe

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The probe tells of updates inside."""
        self._probe.watch(self._update)
        try:
            yield
        finally:
            self._probe.watch(None)

    def _update(self, update: Update) -> None:
        sequences = [tuple(ids) for micro in update.samples for ids in micro]
        step = Step(
            sequences=len(sequences),
            tokens=sum(map(len, sequences)),
            group={"lr": update.learning_rate, **update.settings},
            grad_norm=update.gradient_norm,
        )
        if self._loss is not None:
            batches = [[tuple(ids) for ids in micro] for micro in update.samples]
            whole = self._micro_batches(step, batches) is not None
            if whole and None not in step.rows:
                step.expected_loss = self._probe.loss([self._rows[number] for number in step.rows])
        self.steps.append(step)
        self._after_step(len(self.steps))


class Observer(Watch):
    """Watches a policy through torch; ``reference`` is the policy as it was, see ``Watch`` for the other arguments."""

    def __init__(self, model: Any, reference: Any, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.model, self._reference = model, reference
        self._seen: list[list[list[int]]] = []
        self._quiet = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks are in place inside."""
        embedding = self.model.get_input_embeddings()
        handles = [
            embedding.register_forward_pre_hook(self._forward, with_kwargs=True),
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._counted),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._quiet or not torch.is_grad_enabled():
            return
        self._seen.append((args[0] if args else kwargs["input"]).detach().cpu().tolist())

    def _mine(self, optimizer: Any) -> list[Any]:
        """Trainable parameters of the policy that this optimiser moves."""
        own = {id(p) for p in self.model.parameters() if p.requires_grad}
        return [p for group in optimizer.param_groups for p in group["params"] if id(p) in own]

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        parameters = self._mine(optimizer)
        if not parameters:
            return
        seen, self._seen = self._seen, []
        tokens = sum(len(self._unpadded(ids)) for batch in seen for ids in batch)
        step = Step(sequences=sum(map(len, seen)), tokens=tokens, group=_group(optimizer, parameters))
        gradients = [p.grad for p in parameters if p.grad is not None]
        step.grad_norm = _norm(gradients) if gradients else 0.0
        if self._loss is not None:
            self._judge(self._loss, step, seen, parameters)
        self.steps.append(step)

    def _counted(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._mine(optimizer):
            self._after_step(len(self.steps))

    def _judge(self, loss_of: Loss, step: Step, seen: list[list[list[int]]], parameters: list[Any]) -> None:
        """Recognise the rows; compare loss and gradient with the contract's for those very rows and weights."""
        micro = self._micro_batches(step, [[self._unpadded(ids) for ids in batch] for batch in seen])
        if micro is None:
            return
        self._quiet = True
        training = self.model.training
        try:
            self.model.eval()
            with torch.enable_grad():
                loss = loss_of(self.model, self._reference, self.config, micro)
                expected = torch.autograd.grad(loss, parameters, allow_unused=True)
        finally:
            self._quiet = False
            self.model.train(training)
        step.expected_loss = float(loss.detach())
        step.expected_grad_norm, step.gradient_error = _distance(
            parameters, expected, self.config["optim.max_grad_norm"]
        )

    def _unpadded(self, ids: list[int]) -> tuple[int, ...]:
        pad = self.tokenizer.pad_token_id
        inside = [i for i, token in enumerate(ids) if token != pad]
        return tuple(ids[inside[0] : inside[-1] + 1]) if inside else ()


def _group(optimizer: Any, parameters: list[Any]) -> dict[str, Any]:
    """The settings that apply to a trainable matrix."""
    matrix = next((p for p in parameters if p.ndim > 1), parameters[0])
    group = next(g for g in optimizer.param_groups if any(p is matrix for p in g["params"]))
    betas = group.get("betas", (None, None))
    return {
        "lr": float(group["lr"]),
        "beta1": betas[0],
        "beta2": betas[1],
        "eps": group.get("eps"),
        "weight_decay": group.get("weight_decay"),
    }


def _distance(parameters: list[Any], expected: Sequence[Any], limit: float) -> tuple[float, float]:
    """Norm of the expected gradient, and how far the actual one is from it once that is clipped."""
    pairs = [
        (p.grad if p.grad is not None else torch.zeros_like(p), e if e is not None else torch.zeros_like(p))
        for p, e in zip(parameters, expected, strict=True)
    ]
    norm = _norm([e for _, e in pairs])
    scale = min(1.0, limit / (norm + 1e-6)) if limit else 1.0
    away = _norm([g.float() - scale * e.float() for g, e in pairs])
    return norm, away / max(scale * norm, 1e-12)


def _norm(arrays: Sequence[Any]) -> float:
    """Norm of several arrays as one vector."""
    return float(torch.stack([array.float().norm() for array in arrays]).norm())
