"""What a run says of its rows before it trains: on the console, and in its log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from aligntune import create_sft_trainer


def rows_of(**more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"say {i}", "completion": f"word {i}", **more} for i in range(4)]


def test_train_says_what_it_saw_and_shows_the_first_row(
    tiny_model_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="aligntune"):
        create_sft_trainer(
            model_name=str(tiny_model_dir),
            dataset_name=rows_of(source="a book"),
            eval_dataset=rows_of(page=3),
            backend="torch",
            max_steps=1,
            batch_size=2,
            output_dir=str(tmp_path / "run"),
            save_strategy="no",
        )
    log = (tmp_path / "run" / "run.log").read_text(encoding="utf-8")
    for text in (
        "WARNING aligntune.data: Not used: source.",
        "WARNING aligntune.data: held out: Not used: page.",
    ):
        assert text in log
    assert "The loss is on the completion only." in log
    assert "The first row as it is trained, [[with loss]]: <|im_start|>user\nsay 0<|im_end|>" in log
    assert "[[word 0<|im_end|>" in log
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "Not used: source." in warned
