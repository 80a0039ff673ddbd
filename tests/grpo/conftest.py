"""Prompts, rewards and a builder that the tests of the GRPO family share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Build = Callable[..., Any]
Rows = list[dict[str, Any]]

GROUP = 4


def letters(completions: list[list[dict[str, str]]], **columns: Any) -> list[float]:
    """Differs from one completion to the next: the number of characters, modulo 7."""
    return [float(len(c[0]["content"]) % 7) for c in completions]


@pytest.fixture(scope="session")
def prompts() -> Rows:
    return [
        {"prompt": [{"role": "user", "content": f"Add {n} and {n + 1}."}], "answer": str(2 * n + 1)}
        for n in range(12)
    ]


@pytest.fixture
def differing() -> Callable[..., list[float]]:
    """A reward that tells completions of a group apart."""
    return letters


@pytest.fixture(scope="session")
def ending(tiny_model_dir: Path) -> dict[str, Any]:
    """``generation_kwargs`` with which the tiny model ends its completions, at various lengths."""
    from transformers import AutoTokenizer

    eos = AutoTokenizer.from_pretrained(tiny_model_dir).eos_token_id
    return {"sequence_bias": [[[eos], 4.0]]}


@pytest.fixture(scope="session")
def settings(tiny_model_dir: Path, prompts: Rows) -> dict[str, Any]:
    """Keywords of a short run of two groups a step."""
    return {
        "model_name": str(tiny_model_dir),
        "dataset_name": prompts,
        "backend": "trl",
        "reward_functions": [letters],
        "num_generations": GROUP,
        "batch_size": 2 * GROUP,
        "max_completion_length": 8,
        "max_steps": 2,
        "learning_rate": 1e-3,
        "lora_r": 4,
        "save_strategy": "no",
    }


@pytest.fixture
def build(settings: dict[str, Any], tmp_path: Path) -> Build:
    """``build("grpo", folder name, **keywords)``: a trainer made through the public API; ``full=True``: no adapter."""
    from aligntune import create_rl_trainer

    def make(algorithm: str = "grpo", folder: str = "run", full: bool = False, **keywords: Any) -> Any:
        given = settings | {"output_dir": str(tmp_path / folder)} | keywords
        if full:
            given |= {"use_peft": False, "lora_r": None}
        return create_rl_trainer(algorithm=algorithm, **given)

    return make


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that weights can be compared bit for bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Look:
    """What tests read of a run."""

    @staticmethod
    def lines(trainer: Any, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
        """The lines of a file of the run folder."""
        text = (trainer.output_dir / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    @classmethod
    def steps(cls, trainer: Any) -> list[dict[str, Any]]:
        """The lines of training steps."""
        return [line for line in cls.lines(trainer) if "loss" in line]

    @staticmethod
    def losses(native: Any) -> list[float]:
        """Loss of each logged step of a transformers Trainer."""
        return [entry["loss"] for entry in native.state.log_history if "loss" in entry]

    @staticmethod
    def weights(model: Any) -> dict[str, Any]:
        """A copy of all parameters."""
        return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @staticmethod
    def logits(model: Any) -> Any:
        """Logits on a fixed sequence, in evaluation mode."""
        import torch

        ids = torch.arange(4, 60).unsqueeze(0)
        training = model.training
        model.eval()
        with torch.no_grad():
            found = model(input_ids=ids, use_cache=False).logits.float()
        model.train(training)
        return found


@pytest.fixture(scope="session")
def look() -> type[Look]:
    return Look
