"""The same call on trl and on unsloth is the same run: on the CPU, in float32, each in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unsloth.conftest import Run

pytestmark = pytest.mark.backend

TOLERANCE = 1e-5
"""Relative, of losses. Unsloth's CPU path computes SFT's cross-entropy in chunks; the rest is the same code."""

COMMON: dict[str, Any] = {
    "max_steps": 5,
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "warmup_steps": 2,
    "weight_decay": 0.01,
    "lr_scheduler": "cosine",
    "learning_rate": 2e-3,
    "save_strategy": "no",
}
LORA: dict[str, Any] = {"lora_r": 4}
FULL: dict[str, Any] = {"use_peft": False}
QLORA = {**LORA, "quantization": {"load_in_4bit": True}}
GROUP: dict[str, Any] = {
    "num_generations": 4,
    "max_completion_length": 12,
    "batch_size": 4,
    "gradient_accumulation_steps": 2,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft-lora": ("sft", LORA),
    "sft-full": ("sft", FULL),
    "sft-qlora": ("sft", QLORA),
    "sft-checkpointing": ("sft", {**LORA, "gradient_checkpointing": True, "use_rslora": True}),
    "sft-dropout": ("sft", {**LORA, "lora_dropout": 0.1}),
    "sft-text": ("sft", {"dataset_name": [{"text": f"bread number {i} is warm"} for i in range(20)]}),
    "dpo-lora": ("dpo", LORA),
    "dpo-full": ("dpo", FULL),
    "dpo-qlora": ("dpo", QLORA),
    "kto-lora": ("kto", LORA),
    "kto-full": ("kto", FULL),
    "grpo": ("grpo", {**GROUP, "beta": 0.04}),
    "grpo-full": ("grpo", {**FULL, **GROUP, "beta": 0.04, "learning_rate": 1e-4}),
    "dr_grpo": ("dr_grpo", GROUP),
    "dapo": ("dapo", {**GROUP, "mask_truncated_completions": False}),
    "ppo": ("ppo", {**LORA, "max_completion_length": 12, "batch_size": 4, "gradient_accumulation_steps": 1}),
}

# What Unsloth's CPU path would change by itself: name -> (what the refusal says, keywords).
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "packing": ("ConfigError: packing: Unsloth's CPU path", {"packing": True}),
    "bf16": ('ConfigError: precision="bf16": Unsloth\'s CPU path turns it off', {"precision": "bf16"}),
    "paged optimiser": (
        "ContractViolation: .*would use 'adamw_torch_fused'",
        {"optimizer": "paged_adamw_8bit"},
    ),
    "offloading checkpoints": (
        'ConfigError: gradient_checkpointing="unsloth"',
        {"gradient_checkpointing": "unsloth"},
    ),
    "stretched positions": ("ConfigError: max_seq_length=4096: .* 2048 positions", {"max_seq_length": 4096}),
    "fp4": (
        "ConfigError: quantization: .*bnb_4bit_quant_type='nf4' only",
        {"quantization": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}},
    ),
    "8-bit": ("NotHonoured: .*8bit", {"quantization": {"load_in_8bit": True}}),
    "attention": ("NotHonoured: .*attn_implementation", {"attn_implementation": "eager"}),
}


class Pair:
    """What both backends did with one job."""

    def __init__(self, folder: Path, trl: dict[str, Any], unsloth: dict[str, Any]) -> None:
        self.folder, self.trl, self.unsloth = folder, trl, unsloth

    @property
    def both(self) -> tuple[dict[str, Any], dict[str, Any]]:
        assert "error" not in self.unsloth, self.unsloth["error"]
        return self.trl, self.unsloth

    def tensors(self, name: str) -> tuple[Any, Any]:
        import torch

        trl, unsloth = (torch.load(self.folder / backend / name) for backend in ("trl", "unsloth"))
        return trl, unsloth


@pytest.fixture(scope="module")
def pairs(
    on_unsloth: Run, driver: dict[str, Any], tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Pair]:
    root = tmp_path_factory.mktemp("parity")

    def job(name: str, backend: str, **more: Any) -> dict[str, Any]:
        algorithm, keywords = VARIANTS[name]
        output = {"backend": backend, "output_dir": str(root / name / backend)}
        start = {"model_name": str(tiny_model_dir)}
        return {"algorithm": algorithm, "keywords": {**start, **COMMON, **keywords, **output, **more}}

    trl = {name: driver["run"](job(name, "trl")) for name in VARIANTS}
    jobs = {name: job(name, "unsloth") for name in VARIANTS}
    other = {
        "output_dir": str(root / "crossed"),
        "model_name": str(root / "sft-lora" / "trl"),
        "learning_rate": 1e-12,
    }
    jobs["crossed"] = job("sft-lora", "unsloth", **other)
    del jobs["crossed"]["keywords"]["lora_r"]
    for name, (_, keywords) in REFUSED.items():
        jobs[f"refused {name}"] = job("sft-lora", "unsloth", **keywords)
    unsloth = on_unsloth(jobs)
    found = {name: Pair(root / name, trl[name], unsloth[name]) for name in VARIANTS}
    found["crossed"] = Pair(root, {}, unsloth["crossed"])
    found |= {f"refused {name}": Pair(root, {}, unsloth[f"refused {name}"]) for name in REFUSED}
    found["process"] = Pair(root, {}, unsloth)
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_arguments_are_in_force(pairs: dict[str, Pair], name: str) -> None:
    trl, unsloth = pairs[name].both
    # The folder, adamw_torch fused or not, and where the function lies in memory.
    own = {"run.output_dir", "optim.optimizer", "rewards.functions"}
    for kind in ("planned", "effective"):
        assert set(unsloth[kind]) - set(trl[kind]) == set()
        assert {k: v for k, v in unsloth[kind].items() if k not in own and v != trl[kind][k]} == {}
    assert {"optim.learning_rate", "model.precision", "optim.batch_size"} <= set(unsloth["effective"])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_steps_samples_and_schedule(pairs: dict[str, Pair], name: str) -> None:
    trl, unsloth = pairs[name].both
    assert unsloth["steps"] == trl["steps"] == 5
    assert unsloth["batches"] == trl["batches"]
    assert len(trl["batches"]) == 5 * VARIANTS[name][1].get("gradient_accumulation_steps", 2)
    for figure in ("learning_rate", "num_tokens", "reward", "epoch"):
        assert [e.get(figure) for e in unsloth["log"]] == [e.get(figure) for e in trl["log"]]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_trainable_weights_to_begin_with(pairs: dict[str, Pair], name: str) -> None:
    import torch

    trl, unsloth = pairs[name].tensors("start.pt")
    assert set(unsloth) == set(trl)
    assert {unsloth[k].dtype for k in unsloth} == {torch.float32}
    assert [k for k in trl if unsloth[k].shape != trl[k].shape or not torch.equal(unsloth[k], trl[k])] == []


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_losses(pairs: dict[str, Pair], name: str) -> None:
    trl, unsloth = pairs[name].both
    wanted = [e["loss"] for e in trl["log"]]
    assert [e["loss"] for e in unsloth["log"]] == pytest.approx(wanted, rel=TOLERANCE, abs=1e-7)
    assert len(set(wanted)) > 3
    assert unsloth["answers"] == trl["answers"]
    if name.startswith("dpo"):
        assert unsloth["log"][0]["loss"] == pytest.approx(0.6931472, abs=1e-6)


def test_an_adapter_of_trl_gives_the_same_logits_on_unsloth(pairs: dict[str, Pair]) -> None:
    import torch

    crossed = pairs["crossed"]
    assert "error" not in crossed.unsloth, crossed.unsloth.get("error")
    trained = torch.load(crossed.folder / "sft-lora" / "trl" / "logits.pt")
    loaded = torch.load(crossed.folder / "crossed" / "logits.pt")
    torch.testing.assert_close(loaded, trained, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["sft-lora", "dpo-lora"])
def test_an_adapter_of_unsloth_gives_the_same_logits_on_trl_and_with_plain_peft(
    pairs: dict[str, Pair], name: str, driver: dict[str, Any], tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from aligntune import create_sft_trainer

    folder = pairs[name].folder / "unsloth"
    trained = torch.load(folder / "logits.pt")
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    plain = driver["logits"](PeftModel.from_pretrained(base, folder))
    torch.testing.assert_close(plain, trained, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(driver["logits"](AutoModelForCausalLM.from_pretrained(tiny_model_dir)), trained)
    keywords = {**COMMON, "output_dir": str(tmp_path), "model_name": str(folder), "backend": "trl"}
    trainer = create_sft_trainer(dataset_name=driver["rows"]("sft"), **keywords)
    torch.testing.assert_close(driver["logits"](trainer.model), trained, rtol=1e-5, atol=1e-5)


def test_unsloth_prints_nothing_on_stdout_and_leaves_nothing_in_the_working_directory(
    pairs: dict[str, Pair],
) -> None:
    process = pairs["process"].unsloth
    assert process["stdout"] == ""
    assert process["left"] == ["jobs.json", "out.json"]


def test_what_unsloth_is_is_recorded_in_the_manifest(pairs: dict[str, Pair]) -> None:
    manifest = json.loads((pairs["sft-lora"].folder / "unsloth" / "aligntune.json").read_text())
    assert manifest["backend"] == "unsloth"
    assert {"unsloth", "unsloth_zoo", "trl", "torch"} <= set(manifest["versions"])


@pytest.mark.parametrize("name", REFUSED)
def test_what_unsloth_would_change_on_a_cpu_is_refused(pairs: dict[str, Pair], name: str) -> None:
    import re

    said = pairs[f"refused {name}"].unsloth.get("error", "nothing")
    assert re.match(REFUSED[name][0], said, re.DOTALL), said
