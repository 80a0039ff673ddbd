"""SFT, then DPO on its folder: the adapter goes on, the reference is the policy as loaded, peft reads the result."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look

pytestmark = pytest.mark.backend

LN2 = math.log(2)


@pytest.fixture
def sft(build: Build) -> Any:
    trainer = build("sft", "sft", learning_rate=5e-3)
    trainer.train()
    return trainer


def test_dpo_continues_the_sft_adapter(
    sft: Any, build: Build, look: Look, tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch

    dpo = build("dpo", "dpo", model_name=str(tmp_path / "sft"))
    assert torch.equal(look.logits(dpo.model), look.logits(sft.model))
    assert not torch.equal(
        look.logits(dpo.model), look.logits(look.reloaded(tiny_model_dir, tmp_path / "sft").unload())
    )
    dpo.train()
    assert look.losses(dpo.native)[0] == pytest.approx(LN2, abs=1e-6)

    trained = look.logits(dpo.model)
    assert not torch.equal(trained, look.logits(sft.model))
    assert torch.equal(look.logits(look.reloaded(tiny_model_dir, tmp_path / "dpo")), trained)
    assert not [path for path in (tmp_path / "dpo").rglob("*") if path.name == "ref"]
    assert dpo.effective["peft.enabled"] is True


def test_reference_is_never_saved_in_checkpoints_and_resumes(
    sft: Any, build: Build, look: Look, tmp_path: Path
) -> None:
    import torch

    whole = build("dpo", "whole", model_name=str(tmp_path / "sft"), max_steps=4)
    whole.train()
    half = build(
        "dpo", "half", model_name=str(tmp_path / "sft"), max_steps=4, save_strategy="steps", save_steps=2
    )
    half.train()
    assert not [path for path in (tmp_path / "half").rglob("*") if path.name == "ref"]
    again = build(
        "dpo", "half", model_name=str(tmp_path / "sft"), max_steps=4, save_strategy="steps", save_steps=2
    )
    again.train(resume=tmp_path / "half" / "checkpoint-2")
    assert torch.equal(look.logits(again.model), look.logits(whole.model))


def test_merged_first_a_new_adapter_stands_on_the_merged_base(
    sft: Any, build: Build, look: Look, tmp_path: Path
) -> None:
    import torch

    dpo = build("dpo", "dpo", model_name=str(tmp_path / "sft"), merge_adapter=True, lora_r=2)
    assert look.logits(dpo.model) == pytest.approx(look.logits(sft.model), abs=1e-5)
    dpo.train()
    assert look.losses(dpo.native)[0] == pytest.approx(LN2, abs=1e-6)
    assert torch.equal(
        look.logits(look.reloaded(tmp_path / "dpo" / "base", tmp_path / "dpo")), look.logits(dpo.model)
    )
    from peft import PeftConfig

    assert PeftConfig.from_pretrained(tmp_path / "dpo").base_model_name_or_path == str(
        tmp_path / "dpo" / "base"
    )


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"lora_r": 8}, "lora_r"),
        ({"lora_alpha": 99, "lora_r": 4}, "lora_alpha"),
        ({"lora_target_modules": ["q_proj"], "lora_r": 4}, "lora_target_modules"),
        ({"use_dora": True, "lora_r": 4}, "use_dora"),
    ],
)
def test_other_settings_than_the_adapters_are_refused(
    keywords: dict[str, Any], named: str, sft: Any, build: Build, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        build("dpo", "dpo", model_name=str(tmp_path / "sft"), **keywords)


def test_full_dpo_of_a_model_in_memory_starts_at_ln_2(build: Build, look: Look, tiny_model_dir: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)  # no longer what its path holds
    start = look.logits(model)
    trainer = build("dpo", model_name=model, use_peft=False, lora_r=16)
    assert torch.equal(look.logits(trainer.model), start)
    trainer.train()
    assert look.losses(trainer.native)[0] == pytest.approx(LN2, abs=1e-6)
    assert torch.equal(look.logits(trainer.native.ref_model), start)


def test_trained_model_is_handed_on_in_memory(
    sft: Any, build: Build, look: Look, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """SFT, DPO, DPO again on the same object: each starts where the one before ended, with one adapter."""
    import torch

    for folder in ("dpo", "again"):
        start = look.logits(sft.model)
        dpo = build("dpo", folder, model_name=sft.model)
        assert torch.equal(look.logits(dpo.model), start)
        dpo.train()
        assert look.losses(dpo.native)[0] == pytest.approx(LN2, abs=1e-6)
        assert not torch.equal(look.logits(dpo.model), start)
    assert torch.equal(look.logits(look.reloaded(tiny_model_dir, tmp_path / "again")), look.logits(dpo.model))


def test_adapter_in_memory_is_continued(
    sft: Any, build: Build, look: Look, tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch

    held = look.reloaded(tiny_model_dir, tmp_path / "sft")
    dpo = build("dpo", "dpo", model_name=held)
    dpo.train()
    assert look.losses(dpo.native)[0] == pytest.approx(LN2, abs=1e-6)
    assert torch.equal(look.logits(look.reloaded(tiny_model_dir, tmp_path / "dpo")), look.logits(dpo.model))
    assert not torch.equal(look.logits(dpo.model), look.logits(sft.model))
