"""The plain PyTorch backend and the TRL backend give the same losses and weights: the same call means the same run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.torch_backend.conftest import Build, Look

pytestmark = pytest.mark.backend

# 22 rows: 11 micro-batches of 2, so an epoch ends in a step of one micro-batch, and 7 steps reach into the second.
SETTINGS: dict[str, Any] = {
    "max_steps": 7,
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "warmup_steps": 2,
    "weight_decay": 0.05,
    "lr_scheduler": "cosine",
    "learning_rate": 2e-3,
    "adam_beta1": 0.8,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-6,
    "max_grad_norm": 0.5,
    "precision": "fp32",
    "seed": 7,
}
LORA = {"lora_r": 4, "lora_alpha": 12, "lora_target_modules": ["q_proj", "v_proj"]}
FULL = {"use_peft": False, "lora_r": 16}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft, lora": ("sft", LORA),
    "sft, full": ("sft", FULL),
    "sft, plain text": ("sft", {**LORA, "conversational": False}),
    "sft, whole rows, cut": (
        "sft",
        {"completion_only_loss": False, "max_seq_length": 24, "truncation_mode": "keep_end"},
    ),
    "sft, all linear, rslora": ("sft", {"use_rslora": True}),
    "sft, LoRA+, a schedule with an end": (
        "sft",
        {
            **LORA,
            "loraplus_lr_ratio": 8.0,
            "lr_scheduler": "cosine_with_min_lr",
            "min_learning_rate": 5e-4,
        },
    ),
    "dpo, lora": ("dpo", LORA),
    "dpo, full": ("dpo", FULL),
    "dpo, plain text, cut": ("dpo", {**LORA, "conversational": False, "beta": 0.3, "max_seq_length": 40}),
}


@pytest.mark.parametrize("case", CASES)
def test_losses_and_weights_equal(case: str, build: Build, look: Look, tmp_path: Path) -> None:
    import torch

    algorithm, keywords = CASES[case]
    trained = {}
    for backend in ("trl", "torch"):
        trainer = build(algorithm, backend, backend, **{**SETTINGS, **keywords})
        trainer.train()
        trained[backend] = look.weights(trainer.model)
    losses = {backend: look.losses(tmp_path / backend) for backend in trained}
    assert len(losses["torch"]) == 7
    assert losses["torch"] == pytest.approx(losses["trl"], abs=1e-5)
    assert len({round(loss, 4) for loss in losses["torch"]}) > 3
    assert trained["trl"].keys() == trained["torch"].keys()
    for name, weight in trained["trl"].items():
        torch.testing.assert_close(trained["torch"][name], weight, atol=1e-5, rtol=0, msg=name)


def test_bf16_equals_to_its_own_precision(build: Build, look: Look, tmp_path: Path) -> None:
    for backend in ("trl", "torch"):
        build("sft", backend, backend, **{**SETTINGS, **LORA, "precision": "bf16"}).train()
    losses = {backend: look.losses(tmp_path / backend) for backend in ("trl", "torch")}
    assert losses["torch"] == pytest.approx(losses["trl"], abs=5e-3)
    assert losses["torch"][0] != pytest.approx(losses["torch"][-1], abs=5e-3)


# What else is set -> the steps that are evaluated and those that are logged.
INTERVALS: dict[str, tuple[dict[str, Any], set[int], set[int]]] = {
    "steps": ({"eval_steps": 2}, {2, 4, 6, 7}, {3, 6}),
    "a share, and the first": (
        {"eval_steps": 0.4, "logging_first_step": True, "eval_on_start": True},
        {0, 3, 6, 7},
        {1, 3, 6},
    ),
    "so many an epoch of 6": ({"evals_per_epoch": 2}, {3, 6, 7}, {3, 6}),
    "until it gets no better": (
        {"eval_steps": 1, "early_stopping_patience": 2, "early_stopping_threshold": 9.0},
        {1, 2, 3},
        {3},
    ),
}


@pytest.mark.parametrize("case", INTERVALS)
def test_logging_intervals_and_evaluation_mean_the_same(
    case: str, build: Build, look: Look, tmp_path: Path
) -> None:
    from aligntune_core.run import events

    intervals, evaluated, logged = INTERVALS[case]
    held_out = [{"prompt": f"say {word}", "completion": word} for word in ("salt", "oven", "slow")]
    figures = {}
    for backend in ("trl", "torch"):
        more = {"logging_steps": 3, "eval_dataset": held_out, "conversational": False, **intervals}
        build("sft", backend, backend, **{**SETTINGS, **LORA, **more}).train()
        lines = events.read(tmp_path / backend / "metrics.jsonl")
        figures[backend] = {
            (line["step"], key): line[key]
            for line in lines
            for key in ("loss", "tokens", "epoch", "learning_rate", "grad_norm", "eval_loss")
            if key in line
        }
    assert figures["torch"].keys() == figures["trl"].keys()
    assert {step for step, key in figures["torch"] if key == "eval_loss"} == evaluated
    assert {step for step, key in figures["torch"] if key == "loss"} == logged
    assert figures["torch"] == pytest.approx(figures["trl"], abs=1e-4)
