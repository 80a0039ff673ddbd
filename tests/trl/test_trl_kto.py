"""KTO: losses and weights of a hand-written TRL script, labels in their spellings, preference rows split, resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import BadRows, ConfigError

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look, Rows

pytestmark = pytest.mark.backend

OURS: dict[str, Any] = {
    "max_steps": 5,
    "batch_size": 4,
    "gradient_accumulation_steps": 2,
    "warmup_steps": 2,
    "weight_decay": 0.01,
    "learning_rate": 2e-3,
    "save_strategy": "no",
}
LORA = {"lora_r": 4, "lora_alpha": 8, "lora_target_modules": ["q_proj", "v_proj"]}


def labelled(dpo_rows: Rows) -> Rows:
    """Two rows of each pair, so that chosen and rejected completions alternate three to one."""
    return [
        {
            "prompt": row["prompt"],
            "completion": row["rejected" if i % 4 == 3 else "chosen"],
            "label": i % 4 != 3,
        }
        for i, row in enumerate(dpo_rows * 2)
    ]


def by_hand(model_dir: Path, rows: Rows, output: Path, lora: bool, **more: Any) -> Any:
    """What a user of TRL would write."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    set_seed(42)
    args = trl.KTOConfig(
        output_dir=str(output),
        max_steps=5,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        warmup_steps=2,
        weight_decay=0.01,
        learning_rate=2e-3,
        lr_scheduler_type="linear",
        seed=42,
        optim="adamw_torch",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **more,
    )
    trainer = trl.KTOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model_dir),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        if lora
        else None,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("rows_of", ["label", "pairs"])
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_equals_a_hand_written_script(
    rows_of: str, lora: bool, build: Build, look: Look, tiny_model_dir: Path, dpo_rows: Rows, tmp_path: Path
) -> None:
    import torch

    rows = dpo_rows if rows_of == "pairs" else labelled(dpo_rows)
    ours = build("kto", dataset_name=rows, **OURS, **(LORA if lora else {"use_peft": False, "lora_r": 16}))
    ours.train()
    theirs = by_hand(tiny_model_dir, rows, tmp_path / "theirs", lora)
    losses = look.losses(theirs)
    assert len(losses) == 5
    assert losses[0] == pytest.approx(0.5, abs=1e-6)  # the policy is its own reference yet
    assert look.losses(ours.native) == pytest.approx(losses, abs=1e-6)
    weights = look.weights(theirs.model)
    assert [
        n for n, w in look.weights(ours.model).items() if not torch.allclose(w, weights[n], atol=1e-6)
    ] == []


def test_parameters_reach_the_trainer(
    build: Build, look: Look, tiny_model_dir: Path, dpo_rows: Rows, tmp_path: Path
) -> None:
    rows = labelled(dpo_rows)
    more = {"beta": 0.3, "desirable_weight": 0.5, "undesirable_weight": 1.5, "loss_type": "apo_zero_unpaired"}
    ours = build("kto", dataset_name=rows, **OURS, **LORA, **more)
    ours.train()
    theirs = by_hand(tiny_model_dir, rows, tmp_path / "theirs", True, **more)
    assert look.losses(ours.native) == pytest.approx(look.losses(theirs), abs=1e-6)
    assert {name: ours.effective[f"parameters.{name}"] for name in more} == more


def test_evaluation_has_its_own_figures(build: Build, dpo_rows: Rows) -> None:
    rows = labelled(dpo_rows)
    trainer = build("kto", dataset_name=rows, eval_dataset=rows[:8], **OURS, **LORA)
    trainer.train()
    for figures in (trainer.evaluate(), trainer.evaluate(rows[:8])):
        assert figures["kl"] >= 0
        assert figures["reward_margin"] == pytest.approx(
            figures["reward_desirable"] - figures["reward_undesirable"]
        )
        assert math.isfinite(figures["loss"])


def test_a_resumed_run_takes_the_steps_of_an_uninterrupted_one(
    build: Build, look: Look, dpo_rows: Rows
) -> None:
    rows = labelled(dpo_rows)
    keywords = {**OURS, **LORA, "dataset_name": rows, "save_strategy": "steps", "save_steps": 3}
    whole = build("kto", "whole", **keywords)
    whole.train()
    build("kto", "cut", **{**keywords, "max_steps": 3, "lr_scheduler": "constant"}).train()
    again = build("kto", "cut2", **{**keywords, "lr_scheduler": "constant"})
    again.train()
    resumed = build("kto", "cut", **{**keywords, "lr_scheduler": "constant"})
    resumed.train(resume=True)
    assert look.losses(resumed.native) == look.losses(again.native)


@pytest.mark.parametrize(
    ("label", "means"), [(True, True), (0, False), (1.0, True), ("False", False), (" yes ", True)]
)
def test_labels_are_read_in_their_spellings(build: Build, label: Any, means: bool) -> None:
    rows = [{"question": f"How much is {i}?", "answer": f"It is {i}.", "label": label} for i in range(4)]
    assert build("kto", dataset_name=rows, batch_size=2).native.train_dataset["label"] == [means] * 4


def test_a_label_that_says_nothing_is_named_by_its_row(build: Build) -> None:
    rows = [{"prompt": f"{i}?", "completion": f"{i}.", "label": i != 2 or "perhaps"} for i in range(4)]
    with pytest.raises(BadRows, match=r"row 2: column \"label\": must be true .* or false .*, not .*perhaps"):
        build("kto", dataset_name=rows, batch_size=2)


def test_conversations_with_a_label(build: Build) -> None:
    turns = [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": "Enough."}]
    trainer = build("kto", dataset_name=[{"messages": turns, "label": i % 2} for i in range(4)], batch_size=2)
    assert trainer.native.train_dataset["completion"] == [turns[1:]] * 4


def test_one_row_a_batch_is_refused_where_the_kl_is_estimated(build: Build, dpo_rows: Rows) -> None:
    with pytest.raises(ConfigError, match=r"batch_size=1: the loss kto estimates the KL .* take 2 or more"):
        build("kto", dataset_name=dpo_rows, batch_size=1)
    build("kto", dataset_name=dpo_rows, batch_size=1, loss_type="apo_zero_unpaired").train()


def test_what_the_trainer_cannot_do_is_refused(build: Build, dpo_rows: Rows) -> None:
    with pytest.raises(ConfigError, match="truncation_mode"):
        build("kto", dataset_name=dpo_rows, truncation_mode="keep_end")
