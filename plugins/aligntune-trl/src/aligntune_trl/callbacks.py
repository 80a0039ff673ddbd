"""What we hang into transformers' Trainer: events for core, the stop flag, and what a checkpoint holds of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from aligntune_core import RunContext
from aligntune_trl.memory import Memory


class Events(TrainerCallback):  # type: ignore[misc]
    """Turn each log of the trainer into one event of the run."""

    def __init__(self, emit: Callable[[Mapping[str, Any]], None]) -> None:
        self._emit = emit
        self.tokens = 0.0
        """Tokens of the run at the last log."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **more: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        event = {"step": state.global_step, **logs}
        total = event.pop("num_tokens", None)
        event.pop("eval_num_tokens", None)
        event.pop("total_flos", None)
        if total is None and self.tokens:
            total = self.tokens  # GSPO: a step that learns again from earlier completions
        if total is not None and "loss" in event:
            event["tokens"], self.tokens = total - self.tokens, total
        self._emit(event)


class Stop(TrainerCallback):  # type: ignore[misc]
    """Save and end where ``run.stop()`` gives a reason; one rank's reason stops all.

    Training is ended after the save: the checkpoint is then that of a run that goes on.
    """

    def __init__(self, stop: Callable[[], str | None]) -> None:
        self._stop = stop
        self.reason: str | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        reason = self._stop()
        if args.world_size > 1:
            reason = _any_rank(reason, args.device)
        if reason is not None and state.global_step < state.max_steps:
            self.reason = reason
            control.should_save = True
            if args.save_strategy == "best":
                control.should_evaluate = False  # whose figure would decide whether to save

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if self.reason is not None:
            control.should_training_stop = True


def _any_rank(reason: str | None, device: Any) -> str | None:
    import torch

    flag = torch.tensor([0 if reason is None else 1], device=device)
    torch.distributed.all_reduce(flag)
    return (reason or "another process of the run was told to stop") if flag.item() else None


def attach(trainer: Any, run: RunContext, means: Any = None) -> tuple[Stop, Memory]:
    """Add ours after the user's, and take out those of transformers that print or draw: core does that."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    events, stop = Events(run.emit), Stop(run.stop)
    memory = Memory(trainer, events, means)
    for callback in (memory, events, stop):
        trainer.add_callback(callback)
    return stop, memory
