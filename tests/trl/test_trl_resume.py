"""A run that stopped and went on ends with the weights of one that did not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look

pytestmark = pytest.mark.backend


@pytest.mark.parametrize(
    ("algorithm", "keywords"),
    [
        ("sft", {"lora_dropout": 0.1}),
        ("sft", {"lora_init": "pissa"}),
        ("sft", {"use_peft": False, "lora_r": 16}),
        ("dpo", {}),
    ],
    ids=["sft lora with dropout", "sft pissa", "sft full", "dpo lora"],
)
def test_resumed_in_the_middle_of_an_epoch(
    algorithm: str, keywords: dict[str, Any], build: Build, look: Look, tmp_path: Path
) -> None:
    import torch

    # 22 rows in batches of 4: an epoch has 6 steps, so 8 steps cross its end and 4 lie in its middle.
    settings = {
        "max_steps": 8,
        "lr_scheduler": "cosine",
        "save_strategy": "steps",
        "save_steps": 4,
        **keywords,
    }
    whole = build(algorithm, "whole", **settings)
    whole.train()
    resumed = build(algorithm, "resumed", **settings)
    result = resumed.train(resume=tmp_path / "whole" / "checkpoint-4")

    assert result.steps == 8
    found, wanted = look.weights(resumed.model), look.weights(whole.model)
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    assert look.losses(resumed.native) == look.losses(whole.native)
    assert result["train_loss"] == pytest.approx(whole.native.state.log_history[-1]["train_loss"], abs=1e-5)
    assert (tmp_path / "whole" / "checkpoint-4").is_dir()
    assert list((tmp_path / "whole" / "checkpoint-4").glob("*.safetensors"))


def test_rotation_keeps_the_newest(build: Build, tmp_path: Path) -> None:
    build("sft", max_steps=4, save_strategy="steps", save_steps=1, save_total_limit=2).train()
    assert sorted(p.name for p in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]


def test_stop_flag_saves_and_ends(
    tiny_model_dir: Path, sft_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The engine alone, with a run context of our own."""
    from aligntune_core import RunContext
    from aligntune_core.pipeline.plan import plan

    planned = plan(
        {
            "algorithm": "sft",
            "model_name": str(tiny_model_dir),
            "dataset_name": sft_rows,
            "backend": "trl",
            "output_dir": str(tmp_path),
            "max_steps": 5,
            "batch_size": 4,
            "save_strategy": "no",
        }
    )
    events: list[Any] = []
    run = RunContext(
        output_dir=tmp_path,
        cache_dir=tmp_path / ".cache",
        artifact=tmp_path.joinpath,
        checkpoint_dir=lambda step: tmp_path / f"checkpoint-{step}",
        emit=events.append,
        stop=lambda: "enough" if len(events) >= 2 else None,
    )
    backend = planned.backend
    config, prepared = planned.config, planned.prepared
    loaded = backend.apply_peft(backend.load_model(config, prepared), config, prepared)
    engine = backend.build_trainer(loaded, config, planned.datasets, prepared, run)
    result = engine.train()
    assert (result.steps, result.stopped) == (3, "enough")
    assert (tmp_path / "checkpoint-3" / "adapter_model.safetensors").is_file()
    steps = [event for event in events if "loss" in event]
    assert [event["step"] for event in steps] == [1, 2, 3]
    lengths = engine.native.state.log_history[2]["num_tokens"]
    assert sum(event["tokens"] for event in steps) == lengths
    assert {"epoch", "learning_rate", "grad_norm"} <= set(steps[0])
