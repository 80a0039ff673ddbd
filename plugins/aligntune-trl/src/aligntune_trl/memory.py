"""What a checkpoint holds beside transformers' own: states of callbacks, figures between two logs, why training ended.

transformers would make callbacks anew from their states, only where it is told to, and would forget that one of them
had ended the run. Here they keep their places and get their states back. All of it stands in ``trainer_state.json``,
with which a checkpoint is complete.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

logger = logging.getLogger("aligntune")

BETWEEN_LOGS = ("_globalstep_last_logged", "_total_loss_scalar", "_total_train_tokens", "_tokens")
"""Numbers that trainers keep from log to log, where they have them."""


class Memory(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Writes itself into each checkpoint, as transformers has its callbacks do, and takes what it wrote back.

    Args:
        trainer: a transformers ``Trainer``. Add this after its other callbacks: what they begin with is overwritten.
        events: our callback that hears the logs, whose count of tokens goes on.
        means: ``Means`` of the trainer; None where it weighs its figures in a way of its own.
    """

    def __init__(self, trainer: Any, events: Any, means: Any = None) -> None:
        self._trainer, self._events = trainer, events
        self._means = means
        self._parts: list[Any] = []
        self._unlogged, self._resumed = 0.0, False
        self._settings: dict[str, Any] = {}
        self._warned: set[str] = set()
        self.start: Path | None = None
        """The checkpoint that the next training goes on from."""

    # --- written ------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What transformers puts into ``trainer_state.json`` under this class's name."""
        trainer = self._trainer
        state, control = trainer.state, trainer.control
        held: dict[str, Any] = {
            "callbacks": {name: self._state_of(name, callback) for name, callback in self._callbacks()},
            "ended": bool(control.should_training_stop and state.global_step < state.max_steps),
            "numbers": {name: getattr(trainer, name) for name in BETWEEN_LOGS if hasattr(trainer, name)},
            "unlogged": self._unlogged,
            "figures": [[_lists(figures), _lists(weights)] for figures, weights in self._figures()],
            "tokens": self._events.tokens,
            "metric": [trainer.args.metric_for_best_model, trainer.args.greater_is_better],
        }
        return {"args": {}, "attributes": {"held": held}}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Take the loss since the last log, a mean over the processes; one process alone writes it."""
        loss = getattr(self._trainer, "_tr_loss", None)
        if loss is None:
            return
        if args.world_size > 1:
            loss = self._trainer.accelerator.reduce(loss.detach().clone(), reduction="mean")
            if self._means is not None and args.logging_steps > 1:
                self._parts = self._means.parts("train")
        self._unlogged = float(loss)

    def _figures(self) -> list[Any]:
        """Figures since the last log with their weights: of all processes, as they were when this step ended."""
        trainer = self._trainer
        if self._means is None:
            return [(getattr(trainer, "_metrics", {}).get("train", {}), {})]
        return self._parts if trainer.args.world_size > 1 else list(self._means.parts("train"))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **more: Any,
    ) -> None:
        """The loss is logged; at the end, the mean of all steps where transformers has that since the resume."""
        if logs and "loss" in logs:
            self._unlogged, self._parts = 0.0, []
        if logs and "train_loss" in logs and self._resumed:
            mean = self._trainer._total_loss_scalar / max(state.global_step, 1)
            logs["train_loss"] = state.log_history[-1]["train_loss"] = mean

    def _state_of(self, name: str, callback: Any) -> dict[str, Any]:
        if hasattr(callback, "state_dict"):
            return {"state_dict": self._packed(name, callback.state_dict())}
        if not isinstance(callback, ExportableState):
            return {}
        exported = callback.state()
        settings = self._settings.get(name, {})
        # Arguments that have moved since training began are counts of a callback that keeps them there.
        moved = {n: v for n, v in exported.get("args", {}).items() if n not in settings or settings[n] != v}
        return {
            "attributes": self._packed(name, {**moved, **exported.get("attributes", {})}),
            "settings": self._packed(name, settings),
        }

    def _packed(self, name: str, state: Any) -> Any:
        """A state as JSON holds it; None, with a warning, where it cannot be read back."""
        try:
            return packed(state)
        except Exception as error:  # states are of any kind, and so are the reasons
            if name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "callback %s: its state cannot be kept in checkpoints (%s); in a resumed run it starts anew",
                    name,
                    error,
                )
            return None

    # --- taken back ---------------------------------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Restore what the checkpoint holds, after the other callbacks have begun."""
        trainer, start = self._trainer, self.start
        self.start, self._unlogged = None, 0.0
        self._settings = {name: _settings(callback) for name, callback in self._callbacks()}
        _forget(trainer, self._means)
        for exportable in (c for c in trainer.callback_handler.callbacks if isinstance(c, ExportableState)):
            # transformers looks for a place of each in the state that it has read from the checkpoint.
            state.stateful_callbacks.setdefault(type(exportable).__name__, {})
        held = held_by(start) if start is not None else None
        self._resumed = held is not None
        if held is None:
            self._events.tokens = 0.0
            return
        if held["metric"] != [args.metric_for_best_model, args.greater_is_better]:
            # The best so far was the best of another figure.
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None
        for name, callback in self._callbacks():
            self._restore(name, callback, held["callbacks"].get(name))
        for name, value in held["numbers"].items():
            setattr(trainer, name, value)
        self._events.tokens, self._unlogged = held["tokens"], held["unlogged"]
        if hasattr(trainer, "_tr_loss"):
            trainer._tr_loss += self._unlogged
        if self._means is not None:
            # One process takes what all had: at the next log the figures of all are put together.
            self._parts = held["figures"]
            self._means.take("train", held["figures"] if args.process_index == 0 else [])
            return
        for figures, _ in held["figures"]:
            for name, values in figures.items():
                trainer._metrics["train"][name] = list(values)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """transformers adds a state to each list of states that it has; the next checkpoint holds the next states."""
        for states in state.stateful_callbacks.values():
            if isinstance(states, list):
                states.clear()

    def ended(self, checkpoint: Path) -> str:
        """Which callbacks had ended the run with this checkpoint; "" where the run was not over, or they have changed.

        A run goes on where its callbacks are others, or have other settings: a greater patience, say.
        """
        held = held_by(checkpoint)
        if held is None or not held["ended"]:
            return ""
        now = {name: _settings(callback) for name, callback in self._callbacks()}
        before = {name: unpacked(state.get("settings")) or {} for name, state in held["callbacks"].items()}
        return ", ".join(now) if now == before else ""

    def _restore(self, name: str, callback: Any, state: Mapping[str, Any] | None) -> None:
        if not state:
            return
        if state.get("state_dict") is not None and hasattr(callback, "load_state_dict"):
            callback.load_state_dict(unpacked(state["state_dict"]))
        for attribute, value in (unpacked(state.get("attributes")) or {}).items():
            setattr(callback, attribute, value)

    def _callbacks(self) -> Iterator[tuple[str, Any]]:
        """The callbacks by class, numbered where there are several of one; those that the run needs are left out."""
        numbers: dict[str, int] = {}
        for callback in self._trainer.callback_handler.callbacks:
            kind = type(callback)
            if kind.__module__.startswith(_OF_THE_RUN) or kind.__name__ == "DefaultFlowCallback":
                continue
            numbers[kind.__name__] = number = numbers.get(kind.__name__, 0) + 1
            yield kind.__name__ if number == 1 else f"{kind.__name__} {number}", callback


_OF_THE_RUN = ("aligntune_trl.callbacks", __name__, "transformers.integrations.")
"""Modules of callbacks that hold no state, or whose log begins anew in each process."""


def held_by(checkpoint: Path) -> dict[str, Any] | None:
    """What ``Memory`` wrote into a checkpoint; None in one of a version before it."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    own = state.get("stateful_callbacks", {}).get(Memory.__name__) or {}
    held: dict[str, Any] | None = own.get("attributes", {}).get("held")
    return held


def packed(state: Any) -> Any:
    """A value as JSON holds it: as it is where nothing is lost by that, else what ``torch.save`` makes of it.

    Raises:
        Exception: torch cannot write it, or would not read it back without running code.
    """
    try:
        text = json.dumps(state)
        if json.loads(text) == state:
            return {"json": json.loads(text)}
    except (TypeError, ValueError):
        pass  # tensors, numbers of numpy, and what compares by element: torch holds those
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    kept = {"torch": base64.b64encode(buffer.getvalue()).decode("ascii")}
    unpacked(kept)
    return kept


def unpacked(kept: Mapping[str, Any] | None) -> Any:
    """What ``packed`` was given."""
    if kept is None:
        return None
    if "json" in kept:
        return kept["json"]
    import torch

    return torch.load(io.BytesIO(base64.b64decode(kept["torch"])), weights_only=True)


def _settings(callback: Any) -> dict[str, Any]:
    return dict(callback.state().get("args", {})) if isinstance(callback, ExportableState) else {}


def _lists(figures: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in figures.items() if isinstance(values, list)}


def _forget(trainer: Any, means: Any) -> None:
    """Figures that a training before this one left when it broke off."""
    for left in (getattr(trainer, "_metrics", {}).get("train"), means and means.weights["train"]):
        if left:
            left.clear()
