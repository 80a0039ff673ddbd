"""Both backends on one GPU: the same runs, speed, memory, and what aligntune costs over each library by hand.

    python benchmarks/gpu_backends.py --out benchmarks/results/h100.json

For each backend, in a process of its own, on a Llama of the shape of Llama-3.2-1B with random weights:

runs    SFT in full, with LoRA and with QLoRA, DPO with LoRA and with QLoRA, 20 steps each on short rows: every loss (so
        that the two backends can be compared over the whole trajectory), milliseconds a step, tokens per second, peak
        memory.
pairs   the library by hand beside this backend with the same settings, SFT and DPO with LoRA on long rows: five windows
        of 20 steps each, in turns, in one process. Two more steps go before each window and are not counted. Rows are
        long because a step on short ones waits for the host, whose speed changes from minute to minute by more than
        what is to be measured.

Writes one JSON file with versions and prints one table. Times are of a host clock with the device synchronised at both
ends. Memory is the allocator's peak; in pairs, what the other trainer keeps on the device is taken off.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from aligntune_core.prepare import versions

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
STEPS, WARM, WINDOWS, WINDOW = 20, 2, 5, 20
ALGORITHMS = ("sft", "dpo")
BATCH = 4
PAIR_BATCH = {"sft": 8, "dpo": 4}
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
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft-lora": ("sft", {}),
    "sft-qlora": ("sft", QLORA),
    "sft-full": ("sft", {"use_peft": False, "learning_rate": 1e-5}),
    "dpo-lora": ("dpo", {}),
    "dpo-qlora": ("dpo", QLORA),
}


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

    def said(role: str, middle: float) -> list[dict[str, str]]:
        length = min(max(2, round(draw.lognormvariate(math.log(middle), 0.7))), 110)
        return [{"role": role, "content": " ".join(draw.choice(WORDS) for _ in range(length))}]

    answers = ("completion",) if algorithm == "sft" else ("chosen", "rejected")
    return [
        {"prompt": said("user", words[0])} | {answer: said("assistant", words[1]) for answer in answers}
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

        torch.cuda.synchronize()
        if number == WARM:
            torch.cuda.reset_peak_memory_stats()
        self.times.append(time.perf_counter())

    def start(self) -> None:
        self.times, self._batches = [], []

    def figures(self) -> dict[str, Any]:
        """Of the steps after the warm ones: seconds, tokens, milliseconds a step, losses."""
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
            "peak_bytes": torch.cuda.max_memory_allocated(),
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


def by_hand(backend: str, algorithm: str, model: Path, output: Path) -> Any:
    """The same run as its users write it: TRL, or TRL's classes after ``import unsloth`` on a FastLanguageModel.

    TRL is given the model and a ``LoraConfig``: it then takes DPO's reference from the model without its adapter. Of a
    model that comes with an adapter, as Unsloth's users give it, it copies the adapter and runs the copy.
    """
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config, trainer = {"sft": (trl.SFTConfig, trl.SFTTrainer), "dpo": (trl.DPOConfig, trl.DPOTrainer)}[
        algorithm
    ]
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = None
    if backend == "unsloth":
        from unsloth import FastLanguageModel

        policy, _ = FastLanguageModel.from_pretrained(
            str(model), max_seq_length=1024, dtype=torch.bfloat16, load_in_4bit=False
        )
        policy = FastLanguageModel.get_peft_model(
            policy,
            r=16,
            lora_alpha=32,
            target_modules=names,
            use_gradient_checkpointing=False,
            random_state=42,
        )
    else:
        policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
        lora = LoraConfig(r=16, lora_alpha=32, target_modules=names, task_type="CAUSAL_LM")
    args = config(
        output_dir=str(output),
        max_steps=WARM + WINDOW,
        per_device_train_batch_size=PAIR_BATCH[algorithm],
        gradient_accumulation_steps=1,
        learning_rate=COMMON["learning_rate"],
        optim="adamw_torch",
        weight_decay=0.0,
        warmup_steps=0,
        max_length=1024,
        bf16=True,
        gradient_checkpointing=False,
        padding_free=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=42,
    )
    return trainer(
        model=policy,
        args=args,
        train_dataset=Dataset.from_list(rows(algorithm, words=LONG)),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=lora,
    )


def resident(trainer: Any) -> int:
    """Bytes of weights and optimiser state that a trainer keeps on the device."""
    weights = {p.data_ptr(): p.numel() * p.element_size() for p in trainer.model.parameters() if p.is_cuda}
    states = [
        t for state in trainer.optimizer.state.values() for t in state.values() if hasattr(t, "is_cuda")
    ]
    return int(sum(weights.values()) + sum(t.numel() * t.element_size() for t in states if t.is_cuda))


def measure_run(backend: str, name: str, model: Path, folder: Path) -> dict[str, Any]:
    algorithm, more = RUNS[name]
    began = time.perf_counter()
    trainer = build(backend, algorithm, model, folder / name, max_steps=STEPS, **more)
    watch = Stopwatch(trainer.native)
    trainer.train()
    return {**watch.figures(), "first_step_after_s": watch.times[0] - began}


def measure_pair(backend: str, algorithm: str, model: Path, folder: Path) -> dict[str, Any]:
    more = {"dataset_name": rows(algorithm, words=LONG), "batch_size": PAIR_BATCH[algorithm]}
    ours = build(backend, algorithm, model, folder / f"pair-{algorithm}", max_steps=WARM + WINDOW, **more)
    raw = by_hand(backend, algorithm, model, folder / f"raw-{algorithm}")
    sides: dict[str, tuple[Any, Callable[[], Any]]] = {
        "raw": (raw, raw.train),
        "ours": (ours.native, ours.train),
    }
    watches = {side: Stopwatch(native) for side, (native, _) in sides.items()}
    found: dict[str, list[dict[str, Any]]] = {"raw": [], "ours": []}
    for _ in range(WINDOWS):
        for side in ("raw", "ours"):
            other = sides["ours" if side == "raw" else "raw"][0]
            kept = resident(other) if getattr(other, "optimizer", None) else 0
            watches[side].start()
            sides[side][1]()
            figures = watches[side].figures()
            figures["own_peak_bytes"] = figures["peak_bytes"] - kept
            found[side].append(figures)
    return summary(found)


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over windows, their spread, and ours over raw."""
    speed = {side: [w["tokens_per_second"] for w in windows] for side, windows in found.items()}
    memory = {side: median(w["own_peak_bytes"] for w in windows) for side, windows in found.items()}
    return {
        "tokens_per_second": {side: median(values) for side, values in speed.items()},
        "spread": {side: [min(values), max(values)] for side, values in speed.items()},
        "speed_ratio": median(speed["ours"]) / median(speed["raw"]),
        "peak_bytes": memory,
        "memory_ratio": memory["ours"] / memory["raw"],
        "step_ms": {side: median(w["step_ms"] for w in windows) for side, windows in found.items()},
        "windows": {side: [round(value) for value in values] for side, values in speed.items()},
        "tokens_per_step": {side: w[0]["tokens"] / w[0]["steps"] for side, w in found.items()},
        "first_losses": {side: windows[0]["losses"][:3] for side, windows in found.items()},
    }


def worker(backend: str, parts: Sequence[str], model: Path, out: Path) -> None:
    """Measure one backend; written after each part, so that a later failure loses nothing."""
    import torch

    found: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **versions(LIBRARIES)},
        "gpu": torch.cuda.get_device_name(),
        "runs": {},
        "pairs": {},
    }
    measures = {"runs": (measure_run, tuple(RUNS)), "pairs": (measure_pair, ALGORITHMS)}
    jobs = [(part, name, measures[part][0]) for part in parts for name in measures[part][1]]
    for part, name, measure in jobs:
        try:
            found[part][name] = measure(backend, name, model, out.parent / f"run-{backend}")
        except Exception as error:
            found[part][name] = {"error": f"{type(error).__name__}: {error}"}
            print(f"{backend} {name}: {error!r}", file=sys.stderr, flush=True)
        gc.collect()
        torch.cuda.empty_cache()
        out.write_text(json.dumps(found))


def parity(trl: dict[str, Any], unsloth: dict[str, Any]) -> dict[str, Any]:
    """Largest and mean difference of the losses over the whole trajectory, as a share of the loss."""
    found = {}
    for name in trl.keys() & unsloth.keys():
        pairs = list(zip(trl[name].get("losses", ()), unsloth[name].get("losses", ()), strict=False))
        shares = [abs(a - b) / abs(a) for a, b in pairs]
        if shares:
            found[name] = {"steps": len(shares), "largest": max(shares), "mean": sum(shares) / len(shares)}
    return found


def table(results: dict[str, Any]) -> list[str]:
    """The figures as Markdown; what failed says so in its row."""
    lines = [
        "| run | backend | tokens/s | ms/step | peak GB | first step after |",
        "|---|---|---|---|---|---|",
    ]
    for backend, name, run in _rows(results, "runs"):
        figures = run.get("error") or (
            f"{run['tokens_per_second']:,.0f} | {run['step_ms']:.0f} | {run['peak_bytes'] / 1e9:.2f} | "
            f"{run['first_step_after_s']:.0f} s"
        )
        lines.append(f"| {name} | {backend} | {figures} |")
    lines += [
        "",
        "| by hand against aligntune | tokens/s by hand | ours | ratio | memory ratio |",
        "|---|---|---|---|---|",
    ]
    for backend, name, pair in _rows(results, "pairs"):
        figures = pair.get("error") or (
            f"{_speed(pair, 'raw')} | {_speed(pair, 'ours')} | "
            f"{pair['speed_ratio']:.3f} | {pair['memory_ratio']:.3f}"
        )
        lines.append(f"| {backend} {name} | {figures} |")
    lines += [
        "",
        "| unsloth against trl | steps | largest difference of a loss | mean |",
        "|---|---|---|---|",
    ]
    for name, found in sorted(results["parity"].items()):
        lines.append(f"| {name} | {found['steps']} | {found['largest']:.2e} | {found['mean']:.2e} |")
    return lines


def _speed(pair: dict[str, Any], side: str) -> str:
    least, most = pair["spread"][side]
    return f"{pair['tokens_per_second'][side]:,.0f} ({least:,.0f} to {most:,.0f})"


def _rows(results: dict[str, Any], part: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [(b, name, row) for b, found in results["backends"].items() for name, row in found[part].items()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--backends", default="trl,unsloth")
    parser.add_argument("--parts", default="runs,pairs")
    parser.add_argument("--work", type=Path, default=Path("gpu-backends"), help="folder for model and runs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    model = given.work / "model"
    if given.worker:
        worker(given.worker, given.parts.split(","), model, given.out)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    if not model.exists():
        make_model(model)
    results: dict[str, Any] = {"measured": time.strftime("%Y-%m-%d"), "shape": SHAPE, "backends": {}}
    for backend in given.backends.split(","):
        part = given.work / f"{backend}.json"
        command = [
            sys.executable,
            __file__,
            "--worker",
            backend,
            "--parts",
            given.parts,
            "--work",
            str(given.work),
        ]
        subprocess.run([*command, "--out", str(part)], check=False)
        if part.exists():
            results["backends"][backend] = json.loads(part.read_text())
    both = [results["backends"].get(b, {"runs": {}})["runs"] for b in ("trl", "unsloth")]
    results["parity"] = parity(*both)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=1))
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
