"""The settings of the demo's two runs, tuned on two CPU cores with SmolLM2-135M."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligntune.demo import dataset


@dataclass(frozen=True)
class DemoRecipe:
    """How much the demo trains, asks and evaluates.

    Attributes:
        sft_steps: optimiser steps of SFT.
        dpo_steps: optimiser steps of DPO.
        batch_size: rows a step.
        questions: held-out questions that are answered before, between and after.
        answer_tokens: tokens an answer may have.
        held_out: held-out rows that are evaluated; None: all.
    """

    sft_steps: int
    dpo_steps: int
    batch_size: int
    questions: int
    answer_tokens: int
    held_out: int | None


FULL = DemoRecipe(sft_steps=32, dpo_steps=8, batch_size=4, questions=3, answer_tokens=64, held_out=None)
QUICK = DemoRecipe(sft_steps=3, dpo_steps=2, batch_size=2, questions=1, answer_tokens=24, held_out=6)


def sft(model: str, output: Path, recipe: DemoRecipe, seed: int) -> dict[str, Any]:
    """Keywords of ``create_sft_trainer``.

    The learning rate is high, as it may be for a small adapter and few steps.
    """
    return {
        "model_name": model,
        "dataset_name": str(dataset.INSTRUCTIONS),
        "eval_dataset": str(dataset.INSTRUCTIONS_HELD_OUT),
        "output_dir": str(output),
        "lora_r": 8,
        "lora_alpha": 16,
        "learning_rate": 2e-3,
        "max_steps": recipe.sft_steps,
        **_common(recipe, seed),
    }


def dpo(model: str, output: Path, recipe: DemoRecipe, seed: int) -> dict[str, Any]:
    """Keywords of ``create_rl_trainer``; the adapter that SFT left is trained on."""
    return {
        "model_name": model,
        "dataset_name": str(dataset.PREFERENCES),
        "algorithm": "dpo",
        "eval_dataset": str(dataset.PREFERENCES_HELD_OUT),
        "output_dir": str(output),
        "beta": 0.1,
        "learning_rate": 2e-4,
        "max_steps": recipe.dpo_steps,
        **_common(recipe, seed),
    }


def _common(recipe: DemoRecipe, seed: int) -> dict[str, Any]:
    return {
        "batch_size": recipe.batch_size,
        "eval_batch_size": 8,
        "eval_strategy": "no",  # the demo evaluates when it shows the figures
        "max_eval_samples": recipe.held_out,
        "max_seq_length": 512,
        "save_strategy": "no",
        "seed": seed,
    }
