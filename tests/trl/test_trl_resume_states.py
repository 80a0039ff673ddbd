"""A resumed run has what the run that was never cut has: states of callbacks, order of rows, figures of its log."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look, Rows

pytestmark = pytest.mark.backend


class Cut(Exception):
    """A run is killed."""


def cut(event: Any, step: int) -> None:
    """Die after the log of ``step``."""
    if "loss" in event and event["step"] >= step:
        raise Cut


def cut_at(trainer: Any, step: int) -> None:
    """Train until after the log of ``step``, and die."""
    trainer.on_event = lambda event: cut(event, step)
    with pytest.raises(Cut):
        trainer.train()


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without what the clock says."""
    clock = ("runtime", "second")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not any(word in k for word in clock)} for line in lines]


@pytest.fixture
def stopping(build: Build, sft_rows: Rows) -> Callable[..., Any]:
    """Trainers of a run that early stopping ends: the held-out rows are told to be worse the better they are."""
    from transformers import EarlyStoppingCallback

    def make(folder: str, patience: int = 3, **keywords: Any) -> Any:
        settings: dict[str, Any] = {
            "max_steps": 14,
            "eval_dataset": sft_rows[:4],
            "eval_strategy": "steps",
            "eval_steps": 2,
            "save_strategy": "steps",
            "save_steps": 2,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": True,
        }
        callbacks = [EarlyStoppingCallback(patience)]
        return build("sft", folder, callbacks=callbacks, **{**settings, **keywords})

    return make


def test_patience_is_counted_on_and_a_run_that_ended_stays_ended(
    stopping: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    whole = stopping("whole")
    assert whole.train().steps == 8  # best at step 2, three worse ones after it
    for step in (3, 5, 7):
        cut_at(stopping(f"cut-{step}"), step)
        resumed = stopping(f"cut-{step}")
        assert resumed.train(resume=True).steps == 8
        assert resumed.native.state.best_metric == whole.native.state.best_metric
    caplog.set_level(logging.WARNING, "aligntune")
    again = stopping("whole").train(resume=True)
    assert (again.steps, again.stopped) == (8, None)
    assert "checkpoint-8: the run was ended at step 8 by its callbacks (EarlyStoppingCallback)" in caplog.text
    assert again["train_loss"] > 0
    assert again["final_loss"] == whole.native.state.log_history[-3]["loss"]


def test_a_greater_patience_lets_a_run_go_on(stopping: Callable[..., Any]) -> None:
    assert stopping("run").train().steps == 8
    assert stopping("run", patience=5).train(resume=True).steps == 12


def test_a_run_that_was_told_to_stop_goes_on(stopping: Callable[..., Any], monkeypatch: Any) -> None:
    first = stopping("run")
    monkeypatch.setattr(
        first._engine._stop, "_stop", lambda: "enough" if first.native.state.global_step >= 3 else None
    )
    assert first.train().stopped == "enough"
    assert stopping("run").train(resume=True).steps == 8


def test_the_best_so_far_is_that_of_the_same_figure(stopping: Callable[..., Any]) -> None:
    cut_at(stopping("run"), 5)
    resumed = stopping("run", metric_for_best_model="eval_token_accuracy", patience=9, max_steps=6)
    resumed.train(resume=True)
    assert resumed.native.state.best_metric <= 1  # a loss is above


class Counting:
    """Mixed into a callback: counts steps, in each way in which a callback may offer its state."""

    def __init__(self) -> None:
        self.count: Any = 0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.count += 1


def callbacks() -> list[Any]:
    """Two of one class, one that keeps its count among its arguments, one with tensors in a state dict."""
    import torch
    from transformers import TrainerCallback
    from transformers.trainer_callback import ExportableState

    class Exporting(Counting, TrainerCallback, ExportableState):  # type: ignore[misc]
        def state(self) -> dict[str, Any]:
            return {"args": {}, "attributes": {"count": self.count}}

    class InArguments(Counting, TrainerCallback, ExportableState):  # type: ignore[misc]
        def __init__(self, count: int = 0) -> None:
            self.count = count

        def state(self) -> dict[str, Any]:
            return {"args": {"count": self.count}, "attributes": {}}

    class StateDict(Counting, TrainerCallback):  # type: ignore[misc]
        def state_dict(self) -> dict[Any, Any]:
            return {"count": torch.tensor(self.count), 1: (2, 3)}

        def load_state_dict(self, state: dict[Any, Any]) -> None:
            assert state[1] == (2, 3)
            self.count = int(state["count"])

    second = Exporting()
    second.count = 100
    return [Exporting(), second, InArguments(), StateDict()]


def test_states_of_callbacks_in_all_ways_to_offer_them(build: Build) -> None:
    keywords: dict[str, Any] = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    cut_at(build("sft", callbacks=callbacks(), **keywords), 3)
    second = build("sft", callbacks=callbacks(), **keywords)
    second.on_event = lambda event: cut(event, 5)
    with pytest.raises(Cut):  # cut twice
        second.train(resume=True)
    last = callbacks()
    resumed = build("sft", callbacks=last, **keywords)
    resumed.train(resume=True)
    assert [callback.count for callback in last] == [6, 106, 6, 6]
    assert all(callback in resumed.native.callback_handler.callbacks for callback in last)


def test_a_callback_that_is_new_in_the_resumed_run_begins_there(build: Build) -> None:
    keywords: dict[str, Any] = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    cut_at(build("sft", **keywords), 5)
    new = callbacks()
    build("sft", callbacks=new, **keywords).train(resume=True)
    assert [callback.count for callback in new] == [2, 102, 2, 2]


def test_a_state_that_cannot_be_kept_is_said_once(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    from transformers import TrainerCallback

    class Odd(TrainerCallback):  # type: ignore[misc]
        def state_dict(self) -> dict[str, Any]:
            return {"function": lambda: None}

    build("sft", callbacks=[Odd()], save_strategy="steps", save_steps=1).train()
    assert caplog.text.count("callback Odd: its state cannot be kept in checkpoints") == 1


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
@pytest.mark.parametrize("at", [4, 8])
def test_every_logged_figure_is_that_of_the_uncut_run(
    algorithm: str, at: int, build: Build, tmp_path: Path, sft_rows: Rows, dpo_rows: Rows
) -> None:
    """Checkpoints lie between two logs, and in the first and the second epoch."""
    rows = sft_rows if algorithm == "sft" else dpo_rows
    keywords: dict[str, Any] = {
        "max_steps": 11,
        "logging_steps": 3,
        "save_strategy": "steps",
        "save_steps": 4,
        "gradient_accumulation_steps": 2,
        "batch_size": 2,
        "eval_dataset": rows[:5],
        "eval_strategy": "steps",
        "eval_steps": 5,
        "lora_dropout": 0.1,
    }
    whole = build(algorithm, "whole", **keywords)
    result = whole.train()
    resumed = build(algorithm, "resumed", **keywords)
    again = resumed.train(resume=tmp_path / "whole" / f"checkpoint-{at}")
    wanted = [line for line in logged(tmp_path / "whole") if line["step"] > at]
    for line, other in zip(logged(tmp_path / "resumed"), wanted, strict=True):
        assert line == pytest.approx(other, abs=1e-6), line["step"]
    assert again["train_loss"] == pytest.approx(result["train_loss"], abs=1e-6)
    history = [entry for entry in whole.native.state.log_history if "num_tokens" in entry]
    tokens = [entry["num_tokens"] for entry in resumed.native.state.log_history if "num_tokens" in entry]
    assert tokens == [entry["num_tokens"] for entry in history]


# --- rows grouped by length -------------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The rows of each micro-batch that is trained on, in the order of the batches."""
    import transformers

    batches: list[Any] = []
    step = transformers.Trainer.training_step

    def watched(self: Any, model: Any, inputs: Any, *more: Any, **keywords: Any) -> Any:
        batches.append(sorted(tuple(row[row > 0].tolist()) for row in inputs["input_ids"]))
        return step(self, model, inputs, *more, **keywords)

    monkeypatch.setattr(transformers.Trainer, "training_step", watched)
    return batches


@pytest.mark.parametrize("at", [2, 6, 8])
def test_grouped_rows_go_on_with_their_permutation(
    at: int, build: Build, look: Look, seen: list[Any], tmp_path: Path
) -> None:
    import torch

    # 22 rows, 4 a step: an epoch has 6 steps.
    keywords: dict[str, Any] = {
        "max_steps": 14,
        "group_by_length": True,
        "lora_dropout": 0.1,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    whole = build("sft", "whole", **keywords)
    whole.train()
    wanted = seen[at:]
    assert seen[:6] != seen[6:12]
    assert sorted(row for batch in seen[:6] for row in batch) == sorted(row for b in seen[6:12] for row in b)
    seen.clear()
    resumed = build("sft", "resumed", **keywords)
    resumed.train(resume=tmp_path / "whole" / f"checkpoint-{at}")
    assert seen == wanted
    weights = look.weights(whole.model)
    assert [n for n, w in look.weights(resumed.model).items() if not torch.equal(w, weights[n])] == []


def test_the_order_of_grouped_rows_is_decided_by_data_seed_alone(build: Build, seen: list[Any]) -> None:
    def order(**keywords: Any) -> list[Any]:
        seen.clear()
        build("sft", max_steps=8, group_by_length=True, **keywords).train()
        return list(seen)

    one = order(data_seed=1)
    assert one == order(data_seed=1, lora_dropout=0.2, seed=5)
    assert one != order(data_seed=2)
    assert order(seed=3) != order(seed=4)
