"""What a built trainer gets for settings that its arguments do not carry: early stopping, and the groups of LoRA+."""

from __future__ import annotations

import logging
from typing import Any

from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from aligntune_trl.model import loraplus

logger = logging.getLogger("aligntune")


class Patience(TrainerCallback):  # type: ignore[misc]
    """Looks after transformers' early stopping: it counts anew in a new run of the same trainer, and tells its end.

    Args:
        stopping: the callback that counts, which is in the trainer beside this one.
    """

    def __init__(self, stopping: EarlyStoppingCallback) -> None:
        self.stopping = stopping

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """A run that is resumed goes on counting."""
        if state.global_step == 0:
            self.stopping.early_stopping_patience_counter = 0

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """One line of the log."""
        if self.stopping.early_stopping_patience_counter >= self.stopping.early_stopping_patience:
            logger.info(
                "early stopping at step %s of %s: %s was best at step %s",
                state.global_step,
                state.max_steps,
                args.metric_for_best_model,
                state.best_global_step,
            )


def early_stopping(config: Any) -> EarlyStoppingCallback | None:
    """The callback that a configuration asks for."""
    patience, threshold = config.run.early_stopping_patience, config.run.early_stopping_threshold
    return None if patience is None else EarlyStoppingCallback(patience, threshold)


def read_early_stopping(callback: EarlyStoppingCallback | None) -> dict[str, Any]:
    """Such a callback in our vocabulary; nothing of one that is not there."""
    if callback is None:
        return {}
    return {
        "run.early_stopping_patience": callback.early_stopping_patience,
        "run.early_stopping_threshold": callback.early_stopping_threshold,
    }


def attach(trainer: Any, config: Any) -> None:
    """Add what the configuration asks for to a trainer, before the callbacks that record a run."""
    if (stopping := early_stopping(config)) is not None:
        trainer.add_callback(stopping)
        trainer.add_callback(Patience(stopping))
    if config.optim.loraplus_lr_ratio is not None:
        loraplus.install(trainer, config.optim.loraplus_lr_ratio)


def read(trainer: Any, config: Any) -> dict[str, Any]:
    """Config path -> value in force, of what was added."""
    callbacks = trainer.callback_handler.callbacks
    ours = next((callback.stopping for callback in callbacks if isinstance(callback, Patience)), None)
    values = read_early_stopping(ours if any(callback is ours for callback in callbacks) else None)
    if config.optim.loraplus_lr_ratio is not None:
        values["optim.loraplus_lr_ratio"] = loraplus.ratio(trainer)
    return values


def begin(trainer: Any) -> None:
    """Before training: take off the noise that a run which broke off has left on the embeddings.

    transformers takes it off at the end of a whole run alone, and would put a second one beside it.
    """
    if (noise := getattr(trainer, "neftune_hook_handle", None)) is not None:
        noise.remove()
