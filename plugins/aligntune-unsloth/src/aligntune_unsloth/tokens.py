"""Tokens seen, where Unsloth's loss leaves them out of the log: its SFT on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

FIGURE = "num_tokens"
"""TRL's name of it: tokens since the start of the run, padding left out."""


class TokenCount(TrainerCallback):  # type: ignore[misc]
    """Counts the tokens of each batch and adds them to a log that lacks them.

    Args:
        trainer: its ``training_step`` is wrapped. Counting waits for nothing: the sum stays on the device until a log.
    """

    def __init__(self, trainer: Any) -> None:
        self.total: Any = 0
        self._step = trainer.training_step
        trainer.training_step = self._counted

    def _counted(self, model: Any, inputs: Mapping[str, Any], *more: Any, **keywords: Any) -> Any:
        mask = inputs.get("attention_mask")  # None where rows are packed: nothing is padding then
        self.total += inputs["input_ids"].numel() if mask is None else mask.sum()
        return self._step(model, inputs, *more, **keywords)

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint holds of it, so that a resumed run counts on."""
        return {"total": float(self.total)}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Count on from here."""
        self.total = state["total"]

    def on_log(self, *_: Any, logs: Any = None, **more: Any) -> None:
        if logs and "loss" in logs:
            logs.setdefault(FIGURE, float(self.total))


def count(trainer: Any) -> TokenCount:
    """Count from now on; before the other callbacks, so that they see the figure."""
    counting = TokenCount(trainer)
    trainer.callback_handler.callbacks.insert(0, counting)
    return counting
