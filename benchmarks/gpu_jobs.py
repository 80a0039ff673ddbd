"""Shared parts of the GPU benchmarks: a model of a billion weights, rows, a stopwatch for a trainer's steps."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

SHAPE: dict[str, Any] = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096,
}
LIBRARIES = (
    *("torch", "triton", "transformers", "trl", "peft"),
    *("accelerate", "bitsandbytes", "unsloth", "unsloth_zoo"),
)
WARM = 2
"""Steps that go before what is timed."""
BATCH = 4
SHORT, LONG = (7, 11), (14, 70)
"""Median words of a prompt and of an answer."""
QLORA = {"quantization": {"load_in_4bit": True}}
WORDS = [a + b for a in ("war", "col", "fla", "bre") for b in ("m", "ds", "ter", "ken")]
COMMON: dict[str, Any] = {
    "learning_rate": 2e-4,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "max_seq_length": 1024,
}


def in_workers(
    script: str, backends: str, work: Path, *options: str, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run ``script --worker BACKEND`` for each backend in turn, and gather what each wrote to ``--out``.

    A worker writes after each of its jobs; one that dies keeps what it had.
    """
    results = {}
    for backend in backends.split(","):
        part = work / f"{backend}.json"
        part.unlink(missing_ok=True)  # of an earlier run
        command = [sys.executable, script, "--worker", backend, "--work", str(work), *options]
        subprocess.run([*command, "--out", str(part)], check=False, env={**os.environ, **(environment or {})})
        if part.exists():
            results[backend] = json.loads(part.read_text())
    return results


def keep(results: dict[str, Any], out: Path, table: list[str]) -> None:
    """Write the results as JSON and print the table."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1, allow_nan=False))
    print("\n".join(table))


def make_model(folder: Path) -> None:
    """Random weights in the shape of Llama-3.2-1B, bf16, with a small tokenizer."""
    import torch
    from transformers import LlamaForCausalLM

    from aligntune_core.testing.tiny import make_config, make_tokenizer

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = LlamaForCausalLM(make_config(tokenizer, **SHAPE))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def rows(algorithm: str, count: int = 400, words: tuple[int, int] = SHORT) -> list[dict[str, Any]]:
    """Conversations whose lengths spread as those of instruction data do: most short, a few long."""
    draw = random.Random(0)

    def message(role: str, middle: float) -> list[dict[str, str]]:
        length = min(max(2, round(draw.lognormvariate(math.log(middle), 0.7))), 110)
        return [{"role": role, "content": " ".join(draw.choice(WORDS) for _ in range(length))}]

    answers = ("completion",) if algorithm == "sft" else ("chosen", "rejected")
    return [
        {"prompt": message("user", words[0])} | {answer: message("assistant", words[1]) for answer in answers}
        for _ in range(count)
    ]


class Stopwatch:
    """Times the steps of a transformers Trainer after the first ``WARM``, and counts their tokens."""

    def __init__(self, trainer: Any) -> None:
        from transformers import TrainerCallback

        watch = self

        class Watch(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                watch.step(state.global_step)

        self.times: list[float] = []
        self._batches: list[int] = []
        self._collate = trainer.data_collator
        trainer.data_collator = self.collated
        trainer.add_callback(Watch())
        self._trainer = trainer

    def collated(self, features: Any) -> Any:
        batch = self._collate(features)
        mask = batch.get("attention_mask")
        self._batches.append(int(batch["input_ids"].numel() if mask is None else mask.sum()))
        return batch

    def step(self, number: int) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
            if number == WARM:
                torch.cuda.reset_peak_memory_stats()
        self.times.append(time.perf_counter())

    def start(self) -> None:
        self.times, self._batches = [], []

    def figures(self) -> dict[str, Any]:
        """Seconds, tokens, milliseconds a step and losses of the steps after the warm ones."""
        import torch

        seconds = self.times[-1] - self.times[WARM - 1]
        tokens = sum(self._batches[WARM : len(self.times)])  # one batch a step: no accumulation
        each = [b - a for a, b in zip(self.times[WARM - 1 :], self.times[WARM:], strict=False)]
        return {
            "seconds": seconds,
            "steps": len(each),
            "tokens": tokens,
            "tokens_per_second": tokens / seconds,
            "step_ms": 1000 * median(each),
            "peak_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
            "losses": [e["loss"] for e in self._trainer.state.log_history if "loss" in e],
        }


def build(backend: str, algorithm: str, model: Path, output: Path, **more: Any) -> Any:
    """A trainer through aligntune's public calls."""
    from aligntune.core.backend_factory import create_rl_trainer, create_sft_trainer

    settings = {
        "model_name": str(model),
        "dataset_name": rows(algorithm),
        "backend": backend,
        "output_dir": str(output),
        "batch_size": BATCH,
        **COMMON,
        **more,
    }
    if algorithm == "sft":
        return create_sft_trainer(**settings)
    return create_rl_trainer(algorithm=algorithm, **settings)
