"""Rows and a builder that the tests of the plain PyTorch backend share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.run import events

Build = Callable[..., Any]

WORDS = ["bread", "water", "salt", "yeast", "flour", "oven", "bowl", "hour", "minute", "warm", "cold", "slow"]


def _words(number: int, length: int) -> str:
    return " ".join(WORDS[(number * 5 + i * (number + 2)) % len(WORDS)] for i in range(length))


def _rows(algorithm: str, conversational: bool) -> list[dict[str, Any]]:
    def turn(role: str, text: str) -> Any:
        return [{"role": role, "content": text}] if conversational else f"{text} "

    def row(i: int) -> dict[str, Any]:
        prompt, answer = turn("user", _words(i, 2 + i % 5)), turn("assistant", _words(i + 1, 3 + i % 4))
        if algorithm == "sft":
            return {"prompt": prompt, "completion": answer}
        return {
            "prompt": prompt,
            "chosen": answer,
            "rejected": turn("assistant", _words(i + 2, 2 + i % 6)),
        }

    return [row(i) for i in range(22)]


@pytest.fixture
def build(tiny_model_dir: Path, tmp_path: Path) -> Build:
    """``build("sft" or "dpo", folder name, backend, conversational, **keywords)``: a trainer."""
    from aligntune import create_rl_trainer, create_sft_trainer

    def make(
        algorithm: str,
        folder: str = "run",
        backend: str = "torch",
        conversational: bool = True,
        **keywords: Any,
    ) -> Any:
        settings: dict[str, Any] = {
            "model_name": str(tiny_model_dir),
            "dataset_name": _rows(algorithm, conversational),
            "backend": backend,
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


class Look:
    """What tests read of a run."""

    @staticmethod
    def losses(folder: Path) -> list[float]:
        return [line["loss"] for line in events.read(folder / "metrics.jsonl") if "loss" in line]

    @staticmethod
    def weights(model: Any) -> dict[str, Any]:
        return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @staticmethod
    def logits(model: Any) -> Any:
        import torch

        model.eval()
        with torch.no_grad():
            return model(input_ids=torch.arange(4, 60).unsqueeze(0), use_cache=False).logits.float()


@pytest.fixture(scope="session")
def look() -> type[Look]:
    return Look


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that weights can be compared bit for bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
