"""QLoRA on the CPU: 4-bit at load, a checkpoint stored in 4-bit, LoftQ; adapters stay float32."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import ConfigError, RunError

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look

pytestmark = pytest.mark.backend

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


def four_bit() -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(**NF4, bnb_4bit_compute_dtype=torch.float32)


@pytest.fixture(autouse=True)
def one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AVX512-BF16 bitsandbytes has a second kernel, which evaluates in bf16 what no gradient runs through."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)


@pytest.fixture(scope="module")
def stored_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``-bnb-4bit`` checkpoint of the tiny model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("stored")
    AutoModelForCausalLM.from_pretrained(tiny_model_dir, quantization_config=four_bit()).save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_quantised_at_load(
    algorithm: str, build: Build, look: Look, tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch
    from bitsandbytes.nn import Linear4bit

    trainer = build(algorithm, quantization=NF4, max_steps=2)
    assert any(isinstance(module, Linear4bit) for module in trainer.model.modules())
    before = look.weights(trainer.model)
    assert {p.dtype for p in trainer.model.parameters() if p.requires_grad} == {torch.float32}
    trainer.train()
    after = look.weights(trainer.model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "lora_" in name}
    reread = look.reloaded(tiny_model_dir, tmp_path / "run", quantization_config=four_bit())
    assert torch.equal(look.logits(reread), look.logits(trainer.model))
    if algorithm == "dpo":
        assert look.losses(trainer.native)[0] == pytest.approx(math.log(2), abs=1e-6)
    with pytest.raises(RunError, match="4-bit"):
        trainer.save_model(tmp_path / "merged", merged=True)


def test_adapter_on_a_4_bit_base_is_continued(build: Build, look: Look, tmp_path: Path) -> None:
    import torch

    first = build("sft", quantization=NF4)
    first.train()
    second = build("dpo", "dpo", model_name=str(tmp_path / "run"), quantization=NF4)
    assert torch.equal(look.logits(second.model), look.logits(first.model))
    assert {p.dtype for p in second.model.parameters() if p.requires_grad} == {torch.float32}
    second.train()
    assert look.losses(second.native)[0] == pytest.approx(math.log(2), abs=1e-6)
    unasked = build("dpo", "unasked", model_name=str(tmp_path / "run"))
    assert torch.equal(look.logits(unasked.model), look.logits(first.model))
    assert "of the run whose adapter is continued" in unasked.config.sources["model.quantization"]
    with pytest.raises(ConfigError, match="merge_adapter"):
        build("dpo", "merged", model_name=str(tmp_path / "run"), quantization=NF4, merge_adapter=True)


def test_stored_in_4_bit(build: Build, look: Look, stored_dir: Path, tmp_path: Path) -> None:
    import torch
    from bitsandbytes.nn import Linear4bit

    trainer = build("sft", model_name=str(stored_dir))
    assert any(isinstance(module, Linear4bit) for module in trainer.model.modules())
    trainer.train()
    assert torch.equal(look.logits(look.reloaded(stored_dir, tmp_path / "run")), look.logits(trainer.model))
    continued = build("dpo", "dpo", model_name=str(tmp_path / "run"))
    continued.train()
    assert look.losses(continued.native)[0] == pytest.approx(math.log(2), abs=1e-6)


def test_loftq_starts_nearer_to_the_original(
    build: Build, look: Look, tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    original = look.logits(AutoModelForCausalLM.from_pretrained(tiny_model_dir))
    plain = look.logits(build("sft", "plain", quantization=NF4, lora_r=16).model)
    trainer = build("dpo", quantization=NF4, lora_init="loftq", lora_r=16)
    corrected = look.logits(trainer.model)
    assert (corrected - original).abs().mean() < 0.7 * (plain - original).abs().mean()
    assert trainer.effective["peft.init"] == "loftq"
    trainer.train()
    assert look.losses(trainer.native)[0] == pytest.approx(math.log(2), abs=1e-6)
    reread = look.reloaded(tiny_model_dir, tmp_path / "run", quantization_config=four_bit())
    assert torch.equal(look.logits(reread), look.logits(trainer.model))


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"use_peft": False, "lora_r": 16}, "use_peft"),
        ({"quantization": NF4}, "quantization"),
        ({"lora_init": "loftq"}, "loftq"),
    ],
)
def test_refused_on_a_stored_4_bit_checkpoint(
    keywords: dict[str, Any], named: str, build: Build, stored_dir: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        build("sft", model_name=str(stored_dir), **keywords)
