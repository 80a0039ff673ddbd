"""Rows and a builder that the tests of the TRL plugin share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Build = Callable[..., Any]
Rows = list[dict[str, Any]]

WORDS = ["bread", "water", "salt", "yeast", "flour", "oven", "bowl", "hour", "minute", "warm", "cold", "slow"]


def _words(number: int, length: int) -> str:
    return " ".join(WORDS[(number * 7 + i * (number + 3)) % len(WORDS)] for i in range(length))


def _said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.fixture(scope="session")
def sft_rows() -> Rows:
    return [
        {
            "prompt": _said("user", _words(i, 2 + i % 5)),
            "completion": _said("assistant", _words(i + 1, 3 + i % 4)),
        }
        for i in range(22)
    ]


@pytest.fixture(scope="session")
def dpo_rows() -> Rows:
    return [
        {
            "prompt": _said("user", _words(i, 2 + i % 4)),
            "chosen": _said("assistant", _words(i + 1, 3 + i % 4)),
            "rejected": _said("assistant", _words(i + 2, 2 + i % 5)),
        }
        for i in range(22)
    ]


@pytest.fixture
def build(tiny_model_dir: Path, sft_rows: Rows, dpo_rows: Rows, tmp_path: Path) -> Build:
    """``build("sft" or "dpo", folder name, **keywords)``: a trainer made through the public API."""
    from aligntune import create_rl_trainer, create_sft_trainer

    def make(algorithm: str, folder: str = "run", **keywords: Any) -> Any:
        settings: dict[str, Any] = {
            "model_name": str(tiny_model_dir),
            "dataset_name": sft_rows if algorithm == "sft" else dpo_rows,
            "backend": "trl",
            "output_dir": str(tmp_path / folder),
            "max_steps": 3,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "lora_r": 4,
            "save_strategy": "no",
        } | keywords
        if algorithm == "sft":
            return create_sft_trainer(**settings)
        return create_rl_trainer(algorithm=algorithm, **settings)

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
    """What tests read of a trained policy."""

    @staticmethod
    def losses(trainer: Any) -> list[float]:
        """Loss of each logged step of a transformers Trainer."""
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    @staticmethod
    def logits(model: Any) -> Any:
        """Logits on a fixed sequence, in evaluation mode and float32."""
        import torch

        ids = torch.arange(4, 60).unsqueeze(0)
        training = model.training
        model.eval()
        with torch.no_grad():
            found = model(input_ids=ids, use_cache=False).logits.float()
        model.train(training)
        return found

    @staticmethod
    def weights(model: Any) -> dict[str, Any]:
        """A copy of all parameters."""
        return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @staticmethod
    def reloaded(base: Path, adapter: Path, **how: Any) -> Any:
        """The saved adapter on its base, read with plain peft and transformers."""
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, **how), adapter)


@pytest.fixture(scope="session")
def look() -> type[Look]:
    return Look
