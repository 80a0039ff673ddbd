"""The same settings in a hand-written TRL script give the same losses and weights, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look, Rows

pytestmark = pytest.mark.backend

OURS = {
    "max_steps": 5,
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "warmup_steps": 2,
    "weight_decay": 0.01,
    "lr_scheduler": "cosine",
    "learning_rate": 2e-3,
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_modules": ["q_proj", "v_proj"],
}


def by_hand(algorithm: str, model_dir: Path, rows: Rows, output: Path, lora: bool) -> Any:
    """What a user of TRL would write."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    settings: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": 5,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "warmup_steps": 2,
        "weight_decay": 0.01,
        "lr_scheduler_type": "cosine",
        "learning_rate": 2e-3,
        "seed": 42,
        "optim": "adamw_torch",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    config, trainer = {"sft": (trl.SFTConfig, trl.SFTTrainer), "dpo": (trl.DPOConfig, trl.DPOTrainer)}[
        algorithm
    ]
    set_seed(42)
    made = trainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir),
        args=config(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model_dir),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        if lora
        else None,
    )
    made.train()
    return made


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_equals_a_hand_written_script(
    algorithm: str, lora: bool, build: Build, look: Look, tiny_model_dir: Path, tmp_path: Path, request: Any
) -> None:
    import torch

    keywords = (
        OURS
        if lora
        else {k: v for k, v in OURS.items() if not k.startswith("lora")} | {"use_peft": False, "lora_r": 16}
    )
    ours = build(algorithm, **keywords)
    ours.train()
    rows = request.getfixturevalue(f"{algorithm}_rows")
    theirs = by_hand(algorithm, tiny_model_dir, rows, tmp_path / "theirs", lora)

    assert look.losses(ours.native) == look.losses(theirs)
    assert len(look.losses(theirs)) == 5
    found, wanted = look.weights(ours.model), look.weights(theirs.model)
    assert set(found) == set(wanted)
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    start = look.weights(build(algorithm, "untrained", **keywords).model)
    assert any(not torch.equal(start[name], found[name]) for name in start)
