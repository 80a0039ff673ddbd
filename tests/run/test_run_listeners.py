"""Listeners that installed distributions bring: they hear every event, and never end a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aligntune_core import create_sft_trainer
from tests.site import Site

ROWS = [{"prompt": f"What is {i} plus 1?", "completion": f"{i + 1}"} for i in range(4)]

SOURCE = """
import json

def tracker(config, output_dir):
    if config.run.run_name == "unheard":
        return None
    if config.run.run_name == "refused":
        raise RuntimeError("no account")
    def hear(event):
        with open(output_dir / "heard.jsonl", "a") as file:
            file.write(json.dumps(event, default=float) + chr(10))
        if config.run.run_name == "fails":
            raise OSError("the line is dead")
    return hear
"""


@pytest.fixture
def tracked(site: Site) -> None:
    module = site.module(SOURCE)
    site.install("fake-tracker", {"aligntune.listeners": {"acme": f"{module}:tracker"}})


def train(model: Path, folder: Path, name: str) -> Any:
    trainer = create_sft_trainer(
        str(model), ROWS, backend="trl", max_steps=2, batch_size=2, output_dir=str(folder), run_name=name,
        save_strategy="no",
    )  # fmt: skip
    return trainer.train()


@pytest.mark.backend
def test_a_listener_hears_what_is_written(tracked: None, tiny_model_dir: Path, tmp_path: Path) -> None:
    train(tiny_model_dir, tmp_path, "heard")
    heard = [json.loads(line) for line in (tmp_path / "heard.jsonl").read_text().splitlines()]
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert heard == written
    assert [event["step"] for event in heard if "loss" in event] == [1, 2]


@pytest.mark.backend
def test_a_listener_that_fails_is_left_out_and_the_run_goes_on(
    tracked: None, tiny_model_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train(tiny_model_dir, tmp_path, "fails").steps == 2
    assert len((tmp_path / "heard.jsonl").read_text().splitlines()) == 1
    warnings = [record.getMessage() for record in caplog.records if "hears no more" in record.getMessage()]
    assert warnings == [
        'listener "acme" of fake-tracker 1.0 hears no more of this run, it raised OSError: the line is dead'
    ]


@pytest.mark.backend
def test_a_listener_that_cannot_start_ends_the_call_before_training(
    tracked: None, tiny_model_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="no account") as caught:
        train(tiny_model_dir, tmp_path, "refused")
    assert caught.value.__notes__ == ['raised by the listener "acme" of fake-tracker 1.0 before training']
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.backend
def test_a_listener_may_have_no_interest(tracked: None, tiny_model_dir: Path, tmp_path: Path) -> None:
    train(tiny_model_dir, tmp_path, "unheard")
    assert not (tmp_path / "heard.jsonl").exists()
