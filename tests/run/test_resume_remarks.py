"""What is said of each setting that differs from the run whose checkpoint is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config import load_config, plain
from aligntune_core.errors import CheckpointError
from aligntune_core.run.folder import MANIFEST
from aligntune_core.run.resume import check_resume

BASE: dict[str, Any] = {
    "algorithm": "sft",
    "model_name": "a-model",
    "dataset_name": "rows.jsonl",
    "max_steps": 9,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    config = load_config(BASE)
    content = {"state": "stopped", "algorithm": "sft", "backend": "trl", "config": plain(config)}
    (tmp_path / MANIFEST).write_text(json.dumps(content, default=str))
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    (folder / "trainer_state.json").write_text('{"global_step": 4}')
    return folder


@pytest.mark.parametrize(
    ("keywords", "remark"),
    [
        ({"warmup_steps": 3}, "warmup_steps=3, there None"),
        ({"warmup_ratio": 0.25}, "warmup_ratio=0.25, there 0.0"),
        ({"max_steps": 12}, "max_steps=12, there 9"),
        ({"num_epochs": 2.0}, "num_epochs=2.0, there 3"),
        ({"batch_size": 2}, "batch_size=2, there 8"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps=4, there 1"),
        ({"lr_scheduler": "cosine"}, "lr_scheduler='cosine', there 'linear'"),
        ({"metric_for_best_model": "eval_loss"}, "metric_for_best_model='eval_loss', there None"),
        ({"column_mapping": {"q": "prompt"}}, "column_mapping={'q': 'prompt'}, there None"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs={'a': 1}, there {}"),
        ({"load_in_4bit": True}, "quantization={"),
    ],
)
def test_what_changes_the_run_is_remarked_on(keywords: dict[str, Any], remark: str, checkpoint: Path) -> None:
    remarks = check_resume(checkpoint, load_config({**BASE, **keywords}), "")
    assert any(f"changed since checkpoint-4: {remark}" in line for line in remarks), remarks


@pytest.mark.parametrize("keywords", [{}, {"save_steps": 3}, {"eval_batch_size": 2}, {"logging_steps": 5}])
def test_what_changes_nothing_is_not(keywords: dict[str, Any], checkpoint: Path) -> None:
    assert check_resume(checkpoint, load_config({**BASE, **keywords}), "") == []


def test_what_the_checkpoint_holds_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"learning_rate=0\.5, there 0\.0002"):
        check_resume(checkpoint, load_config({**BASE, "learning_rate": 0.5}), "")
