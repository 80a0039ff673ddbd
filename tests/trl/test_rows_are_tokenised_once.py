"""Rows reach SFTTrainer and RewardTrainer as tokens: those that TRL would have made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.trl.conftest import Look

pytestmark = pytest.mark.backend

TALK = "one two three four five six seven eight"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"completion_only_loss": False},
        {"packing": True},
        {"packing": True, "packing_strategy": "wrapped"},
        {"truncation_mode": "keep_end"},
    ],
    ids=str,
)
@pytest.mark.parametrize("columns", ["pair", "text", "reward"])
def test_the_same_rows_as_trl_makes(
    columns: str,
    settings: dict[str, Any],
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    look: Look,
) -> None:
    from aligntune import create_rl_trainer, create_sft_trainer
    from aligntune_trl import rows as stage

    sources: dict[str, list[dict[str, Any]]] = {
        "pair": [{"prompt": f"{i} {TALK}", "completion": f"{TALK} " * (i % 3 + 1)} for i in range(8)],
        "text": [{"text": f"{i} {TALK} " * (i % 3 + 1)} for i in range(8)],
        "reward": [{"prompt": f"{i}", "chosen": f"{TALK} {i}", "rejected": f"{i}"} for i in range(8)],
    }
    if columns == "reward" and settings:
        pytest.skip("settings of SFT")

    def made(name: str) -> Any:
        keywords = {
            "model_name": str(tiny_model_dir),
            "dataset_name": sources[columns],
            "output_dir": str(tmp_path / name),
            "max_seq_length": 64 if columns != "reward" else 256,
            "max_steps": 1,
            "backend": "trl",
            **settings,
        }
        if columns == "reward":
            return create_rl_trainer(algorithm="reward", **keywords)
        return create_sft_trainer(**keywords)

    ours = made("ours")
    names = ("chosen_ids", "rejected_ids") if columns == "reward" else ("input_ids", "labels")
    assert set(names) <= set(ours._plan.datasets.train.column_names)
    monkeypatch.setattr(stage, "_columns", lambda row: None)
    theirs = made("theirs")
    assert not set(names) & set(theirs._plan.datasets.train.column_names)
    found, wanted = ours.native.train_dataset, theirs.native.train_dataset
    for name in names:
        assert found[:][name] == wanted[:][name]
    for trainer in (ours, theirs):
        trainer.train()
    assert look.losses(ours.native) == look.losses(theirs.native) != []
