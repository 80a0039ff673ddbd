"""Every algorithm with QLoRA on one GPU, on a model of a billion weights, all in one process a backend.

    python benchmarks/gpu_algorithms.py --out benchmarks/results/gpu_algorithms.json

The model has the shape of Llama-3.2-1B. It is first fine-tuned in full for 100 steps on a few words, so that it ends
what it says; SFT, DPO, reward model, PPO (with that reward model), GRPO, GSPO, DAPO and Dr. GRPO then start from it,
its weights in 4 bits. An algorithm that the backend does not offer is left out, and the table says so.

Writes one JSON file with versions and prints one table. Milliseconds are medians over the steps after the first two,
the device synchronised. Memory is the allocator's peak over building and training.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
import traceback
from pathlib import Path
from statistics import median
from typing import Any

from aligntune_core.entrypoints import versions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import gpu_jobs
from benchmarks.gpu_jobs import LIBRARIES, QLORA, rows

STEPS, WARM = 10, 2
LESSONS = 100
COMMON: dict[str, Any] = {
    **QLORA,
    "max_steps": STEPS,
    "batch_size": 8,
    "learning_rate": 1e-4,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "max_seq_length": 512,
}
GROUPS: dict[str, Any] = {"batch_size": 16, "num_generations": 8, "max_completion_length": 64}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "sft": {},
    "dpo": {},
    "kto": {},
    "reward": {},
    "ppo": {"max_completion_length": 64},
    "grpo": {**GROUPS, "beta": 0.04},
    "gspo": {**GROUPS, "beta": 0.04},
    "dapo": GROUPS,
    "dr_grpo": GROUPS,
}
PAIRS = ("dpo", "kto", "reward")


def vowels(completions: list[Any], **columns: Any) -> list[float]:
    """The reward: the share of letters that are vowels, which tells any two texts apart."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in texts]


def make_model(folder: Path) -> None:
    """Random weights, then enough full fine-tuning that completions are words and come to an end."""
    from aligntune import create_sft_trainer

    start = folder.with_name("random")
    gpu_jobs.make_model(start)
    trainer = create_sft_trainer(
        str(start),
        rows("sft", 1600),
        "trl",
        output_dir=str(folder),
        use_peft=False,
        max_steps=LESSONS,
        batch_size=16,
        learning_rate=2e-4,
        warmup_steps=10,
        gradient_checkpointing=False,
        save_strategy="no",
    )
    trainer.train()


def _clock() -> Any:
    """A callback that notes when each step ended."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            torch.cuda.synchronize()
            self.ends.append(time.perf_counter())

    return Clock()


def dataset(algorithm: str) -> list[dict[str, Any]]:
    """Answers for SFT, pairs for what compares or judges them, prompts alone for the others."""
    if algorithm == "sft":
        return rows("sft")
    return rows("dpo") if algorithm in PAIRS else [{"prompt": row["prompt"]} for row in rows("sft")]


def measure(backend: str, algorithm: str, work: Path) -> dict[str, Any]:
    """Train, and say what happened."""
    import torch

    from aligntune import create_rl_trainer, create_sft_trainer

    settings = {
        "model_name": str(work / "model"),
        "dataset_name": dataset(algorithm),
        "backend": backend,
        "output_dir": str(work / backend / algorithm),
        **COMMON,
        **ALGORITHMS[algorithm],
    }
    if algorithm == "ppo":
        settings["reward_model_name"] = str(work / backend / "reward")
    elif algorithm not in ("sft", *PAIRS):
        settings["reward_functions"] = [vowels]
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    make = create_sft_trainer if algorithm == "sft" else create_rl_trainer
    choice = {} if algorithm == "sft" else {"algorithm": algorithm}
    trainer = make(**choice, **settings)
    clock = _clock()  # only now: Unsloth has to come before transformers
    trainer.native.add_callback(clock)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
    result = trainer.train()
    moved = sum(
        not torch.equal(before[name], p) for name, p in trainer.model.named_parameters() if name in before
    )
    each = [1000 * (b - a) for a, b in zip(clock.ends[WARM - 1 :], clock.ends[WARM:], strict=False)]
    log = [entry for entry in trainer.native.state.log_history if "loss" in entry]
    figures = {
        name: [entry.get(name) for entry in log]
        for name in ("loss", "grad_norm", "reward", "kl", "completion_length", "truncated")
    }
    return {
        "steps": result.steps,
        "step_ms": median(each),
        "first_step_after_s": clock.ends[0] - began,
        "peak_bytes": torch.cuda.max_memory_allocated(),
        "four_bit_layers": sum(map(_is_four_bit, trainer.model.modules())),
        "trained_tensors": len(before),
        "moved_tensors": moved,
        "device": str(next(trainer.model.parameters()).device),
        **{name: values for name, values in figures.items() if any(v is not None for v in values)},
    }


def _is_four_bit(module: Any) -> bool:
    """A layer of bitsandbytes, not peft's of the same name around it."""
    return type(module).__name__ == "Linear4bit" and type(module).__module__.startswith("bitsandbytes")


def worker(backend: str, work: Path, out: Path) -> None:
    """Every algorithm on one backend; written after each, so that a later failure loses nothing."""
    import torch

    from aligntune_core.backends.registry import registry

    results: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **versions(LIBRARIES)},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "algorithms": {},
    }
    plugin = registry().get(backend)
    for algorithm in ALGORITHMS:
        support = plugin.supports(algorithm)
        if not support.ok:
            results["algorithms"][algorithm] = {"not offered": support.reason}
        else:
            try:
                results["algorithms"][algorithm] = measure(backend, algorithm, work)
            except Exception as error:
                trace = "".join(traceback.format_exception(error))
                results["algorithms"][algorithm] = {
                    "error": f"{type(error).__name__}: {error}",
                    "trace": trace,
                }
                print(trace, file=sys.stderr, flush=True)
        gc.collect()
        torch.cuda.empty_cache()
        out.write_text(json.dumps(results))


def table(results: dict[str, Any]) -> list[str]:
    """The figures as Markdown; what failed says so in its row."""
    lines = [
        "| algorithm | backend | ms/step | peak GB | first step after | loss, first to last | reward, first to last |",
        "|---|---|---|---|---|---|---|",
    ]
    for backend, part in results["backends"].items():
        for name, run in part["algorithms"].items():
            cells = run.get("error") or run.get("not offered")
            if cells is None:
                reward = _ends(run["reward"]) if "reward" in run else ""
                cells = (
                    f"{run['step_ms']:,.0f} | {run['peak_bytes'] / 1e9:.2f} | {run['first_step_after_s']:.0f} s | "
                    f"{_ends(run['loss'])} | {reward}"
                )
            lines.append(f"| {name} | {backend} | {cells} |")
    return lines


def _ends(values: list[float]) -> str:
    return f"{values[0]:.4f} to {values[-1]:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--backends", default="trl,unsloth")
    parser.add_argument("--work", type=Path, default=Path("gpu-algorithms"), help="folder for model and runs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.work, arguments.out)
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    if not (arguments.work / "model").exists():
        make_model(arguments.work / "model")
    results = {
        "measured": time.strftime("%Y-%m-%d"),
        "shape": gpu_jobs.SHAPE,
        "backends": gpu_jobs.in_workers(__file__, arguments.backends, arguments.work),
    }
    gpu_jobs.keep(results, arguments.out, table(results))


if __name__ == "__main__":
    main()
