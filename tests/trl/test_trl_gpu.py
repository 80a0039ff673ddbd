"""On a CUDA device: bf16 autocast, gradient checkpointing, 4-bit weights, one pinned device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.trl.conftest import Build

pytestmark = [pytest.mark.backend, pytest.mark.gpu]

LN2 = math.log(2)


@pytest.fixture(autouse=True)
def cuda() -> Any:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.cuda


def logits(model: Any) -> Any:
    import torch

    ids = torch.arange(4, 60, device=next(model.parameters()).device).unsqueeze(0)
    model.eval()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        found = model(input_ids=ids, use_cache=False).logits.float()
    model.train()
    return found.cpu()


@pytest.mark.parametrize("algorithm", ["sft", "dpo", "kto"])
@pytest.mark.parametrize(
    "keywords",
    [{}, {"use_peft": False, "lora_r": 16}, {"quantization": {"load_in_4bit": True}}, {"lora_init": "pissa"}],
    ids=["lora", "full", "qlora", "pissa"],
)
def test_trains_in_bf16_with_checkpointing(
    algorithm: str, keywords: dict[str, Any], build: Build, tiny_model_dir: Path, tmp_path: Path, cuda: Any
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    trainer = build(algorithm, max_steps=4, **keywords)
    config = trainer.config
    assert (config.model.precision, config.optim.gradient_checkpointing) == ("bf16", True)
    start = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in start.values()} == {torch.float32}
    trainer.train()
    losses = [entry["loss"] for entry in trainer.native.state.log_history if "loss" in entry]
    if algorithm == "dpo":
        assert losses[0] == pytest.approx(LN2, abs=1e-6 if "lora_init" not in keywords else 2e-3)
    if algorithm == "kto":  # the policy is the reference model still: 1 - sigmoid(0)
        assert losses[0] == pytest.approx(0.5, abs=1e-6 if "lora_init" not in keywords else 2e-3)
    assert all(math.isfinite(loss) for loss in losses)
    end = dict(trainer.model.named_parameters())
    assert all(not torch.equal(start[name], end[name]) for name in start)
    assert {p.device.type for p in end.values()} == {"cuda"}
    assert trainer.native.args.n_gpu == 1

    assert len(trainer.generate(["bread", "warm water and salt"], max_new_tokens=4)) == 2
    if not keywords or "lora_init" in keywords:
        trainer.save_model(tmp_path / "merged", merged=True)
        base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.bfloat16, device_map="cuda")
        reread = PeftModel.from_pretrained(base, tmp_path / "run")
        assert (logits(reread) - logits(trainer.model)).abs().max() < 0.05


def test_loftq_and_resume(build: Build, tmp_path: Path) -> None:
    import torch

    settings = {
        "quantization": {"load_in_4bit": True},
        "lora_init": "loftq",
        "max_steps": 4,
        "save_strategy": "steps",
    }
    whole = build("dpo", "whole", save_steps=2, **settings)
    whole.train()
    losses = [entry["loss"] for entry in whole.native.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(LN2, abs=1e-6)
    resumed = build("dpo", "resumed", save_steps=2, **settings)
    resumed.train(resume=tmp_path / "whole" / "checkpoint-2")
    difference = (logits(resumed.model) - logits(whole.model)).abs().max()
    assert difference < 0.05
    assert torch.isfinite(difference)


def test_packed_and_offloaded(build: Build) -> None:
    trainer = build("sft", packing=True, max_seq_length=64, activation_offloading=True, tf32=True)
    result = trainer.train()
    assert math.isfinite(result["final_loss"])
    assert trainer.effective["data.rows"] == 22
