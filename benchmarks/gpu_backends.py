"""Both backends on one GPU: the same runs, speed, memory, and what aligntune costs over each library by hand.

    python benchmarks/gpu_backends.py --out benchmarks/results/gpu_backends.json

For each backend, in a process of its own, on a Llama of the shape of Llama-3.2-1B with random weights:

runs    SFT in full, with LoRA and with QLoRA, DPO with LoRA and with QLoRA, 20 steps each on short rows: every loss (so
        that the two backends can be compared over the whole trajectory), milliseconds a step, tokens per second, peak
        memory.
pairs   the library by hand beside this backend with the same settings, SFT and DPO with LoRA: five windows of 20 steps
        each, in turns, in one process. Two more steps go before each window and are not counted. Rows are long, batches
        large and activations recomputed, so that the GPU is what a step waits for: a small step waits for the host,
        whose speed changes from minute to minute by more than what is to be measured.

Without a GPU, pairs alone, on a model so small that a step is the host's work and nothing else:

    python benchmarks/gpu_backends.py --host --backends trl --out host.json

Writes one JSON file with versions and prints one table. Times are of a host clock with the device synchronised at both
ends. Memory is the allocator's peak; in pairs, what the other trainer keeps on the device is taken off.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aligntune_core.entrypoints import versions
from aligntune_core.testing.tiny import make_tiny_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import gpu_pairs
from benchmarks.gpu_jobs import LIBRARIES, QLORA, SHAPE, Stopwatch, build, in_workers, keep, make_model

STEPS = 20
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft-lora": ("sft", {}),
    "sft-qlora": ("sft", QLORA),
    "sft-full": ("sft", {"use_peft": False, "learning_rate": 1e-5}),
    "dpo-lora": ("dpo", {}),
    "dpo-qlora": ("dpo", QLORA),
}


def measure_run(backend: str, name: str, model: Path, folder: Path) -> dict[str, Any]:
    algorithm, more = RUNS[name]
    began = time.perf_counter()
    trainer = build(backend, algorithm, model, folder / name, max_steps=STEPS, **more)
    watch = Stopwatch(trainer.native)
    trainer.train()
    return {**watch.figures(), "first_step_after_s": watch.times[0] - began}


def worker(backend: str, parts: Sequence[str], model: Path, out: Path) -> None:
    """Measure one backend; written after each part, so that a later failure loses nothing."""
    import torch

    results: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **versions(LIBRARIES)},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "runs": {},
        "pairs": {},
    }
    measures = {"runs": (measure_run, tuple(RUNS)), "pairs": (gpu_pairs.measure_pair, gpu_pairs.ALGORITHMS)}
    jobs = [(part, name, measures[part][0]) for part in parts for name in measures[part][1]]
    for part, name, measure in jobs:
        try:
            results[part][name] = measure(backend, name, model, out.parent / f"run-{backend}")
        except Exception as error:
            results[part][name] = {"error": f"{type(error).__name__}: {error}"}
            print(f"{backend} {name}: {error!r}", file=sys.stderr, flush=True)
        gc.collect()
        torch.cuda.empty_cache()
        out.write_text(json.dumps(results))


def parity(trl: dict[str, Any], unsloth: dict[str, Any]) -> dict[str, Any]:
    """Largest and mean difference of the losses over the whole trajectory, as a share of the loss."""
    differences = {}
    for name in trl.keys() & unsloth.keys():
        pairs = list(zip(trl[name].get("losses", ()), unsloth[name].get("losses", ()), strict=False))
        shares = [abs(a - b) / abs(a) for a, b in pairs]
        if shares:
            differences[name] = {
                "steps": len(shares),
                "largest": max(shares),
                "mean": sum(shares) / len(shares),
            }
    return differences


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
            f"{pair['speed_ratio']:.3f} | {pair['memory_ratio'] or '-'}"
        )
        lines.append(f"| {backend} {name} | {figures} |")
    lines += [
        "",
        "| unsloth against trl | steps | largest difference of a loss | mean |",
        "|---|---|---|---|",
    ]
    for name, difference in sorted(results["parity"].items()):
        lines.append(
            f"| {name} | {difference['steps']} | {difference['largest']:.2e} | {difference['mean']:.2e} |"
        )
    return lines


def _speed(pair: dict[str, Any], side: str) -> str:
    least, most = pair["spread"][side]
    return f"{pair['tokens_per_second'][side]:,.0f} ({least:,.0f} to {most:,.0f})"


def _rows(results: dict[str, Any], part: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (b, name, row) for b, measured in results["backends"].items() for name, row in measured[part].items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--backends", default="trl,unsloth")
    parser.add_argument("--parts", default="pairs,runs")
    parser.add_argument("--host", action="store_true", help="pairs on a tiny model, on the CPU")
    parser.add_argument("--work", type=Path, default=Path("gpu-backends"), help="folder for model and runs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = arguments.work / ("tiny" if arguments.host else "model")
    if arguments.worker:
        worker(arguments.worker, arguments.parts.split(","), model, arguments.out)
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"measured": time.strftime("%Y-%m-%d")}
    options, environment = ["--parts", arguments.parts], {}
    if arguments.host:
        make_tiny_model(model)
        options = ["--host", "--parts", "pairs"]
        environment = {"CUDA_VISIBLE_DEVICES": "", "ALIGNTUNE_UNSLOTH_ALLOW_CPU": "1"}
    else:
        results["shape"] = SHAPE
        if not model.exists():
            make_model(model)
    backends = in_workers(__file__, arguments.backends, arguments.work, *options, environment=environment)
    both = [backends.get(b, {"runs": {}})["runs"] for b in ("trl", "unsloth")]
    results |= {"backends": backends, "parity": parity(*both)}
    keep(results, arguments.out, table(results))


if __name__ == "__main__":
    main()
