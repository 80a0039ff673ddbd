"""metrics.jsonl, the guard against NaN, signals and the run's log."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from pathlib import Path

import pytest

from aligntune_core.errors import NonFiniteLoss
from aligntune_core.run import events, logs
from aligntune_core.run.signals import StopFlag


def test_lines_are_unrounded_and_tokens_become_a_rate(tmp_path: Path) -> None:
    seen: list[float] = []
    sink = events.MetricsSink(tmp_path / "metrics.jsonl")
    sink.begin(lambda event: seen.extend([event["loss"]] if "loss" in event else []))
    sink({"step": 1, "loss": 1 / 3, "learning_rate": 1e-4, "grad_norm": 0.5, "tokens": 100})
    sink({"step": 1, "eval_loss": 2.0})
    sink.end()
    first, second = events.read(tmp_path / "metrics.jsonl")
    assert first["loss"] == 1 / 3 == sink.last_loss
    assert first["tokens"] == 100
    assert first["tokens_per_second"] > 0
    assert "loss" not in second
    assert seen == [1 / 3]


def test_a_run_after_an_evaluation_writes_into_its_own_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    sink = events.MetricsSink(file)
    sink.begin(lambda event: None)
    sink({"step": 1, "loss": 1.0})
    sink.end()
    sink({"step": 1, "eval_loss": 2.0})
    file.rename(tmp_path / "earlier.jsonl")
    sink.begin(lambda event: None)
    sink({"step": 1, "loss": 3.0})
    assert [line["loss"] for line in events.read(file)] == [3.0]
    assert len(events.read(tmp_path / "earlier.jsonl")) == 2


@pytest.mark.parametrize("key", ["loss", "grad_norm"])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, key: str) -> None:
    sink = events.MetricsSink(tmp_path / "metrics.jsonl")
    with pytest.raises(NonFiniteLoss, match=f"step 4: {key} is nan.*learning_rate"):
        sink({"step": 4, "loss": 1.0, "learning_rate": 1e30, key: float("nan")})
    assert events.read(tmp_path / "metrics.jsonl")[0]["step"] == 4


def test_rewind_drops_the_steps_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = events.MetricsSink(path)
    for step in range(1, 6):
        sink({"step": step, "loss": 1.0})
    sink.end()
    events.rewind(path, 3)
    assert [line["step"] for line in events.read(path)] == [1, 2, 3]


def test_first_ctrl_c_asks_second_one_ends() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopFlag() as stop:
        assert stop() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_asks_for_a_stop() -> None:
    with StopFlag() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop() == "SIGTERM"


def test_harmless_warnings_are_hidden_but_kept(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    log = tmp_path / "run.log"
    with logs.kept(log):
        warnings.warn(
            "`gradient_checkpointing` is deprecated, use activation_checkpointing",
            FutureWarning,
            stacklevel=1,
        )
        warnings.warn("something that matters", UserWarning, stacklevel=1)
        logging.getLogger("some.package").warning("a log line")
    assert [str(w.message) for w in recwarn.list] == ["something that matters"]
    text = log.read_text()
    for kept in ("activation_checkpointing", "something that matters", "a log line"):
        assert kept in text
