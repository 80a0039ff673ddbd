"""Memory and time of preparing a large file of JSON lines: ``plan`` against the loader and ``map`` of ``datasets``.

    python benchmarks/data_memory.py --megabytes 2000 --characters 20000

Writes a file of that size, then prepares it twice, each time in a process of its own: as a run would (all of ``plan``:
read, recognised, converted, checked, tokenised, counted), and as a script on ``datasets`` would
(``load_dataset("json")``, then one ``map`` that applies the chat template to each row). Both import trl's trainer
first. Prints one JSON line for each: seconds, and the peak of the process in MB: in all (``peak``, with the pages of
mapped files, which the system may take back at any time) and its own (``anonymous``). One process, a tiny tokenizer;
the file and what was made of it are deleted afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

WORDS = ("bread", "water", "salt", "yeast", "flour", "oven", "bowl", "hour", "warm", "cold", "slow", "fast")


def write(path: Path, megabytes: int, characters: int) -> int:
    """Rows with a prompt, a completion, and a column of ``characters`` that no run reads; returns their number."""
    draw = random.Random(0)
    rest = " ".join(draw.choices(WORDS, k=characters // 5))
    count = 0
    with path.open("w") as stream:
        while stream.tell() < megabytes * 2**20:
            for _ in range(1000):
                words = " ".join(draw.choices(WORDS, k=12))
                row = {
                    "prompt": f"{count} {words}",
                    "completion": f"{words} {count}",
                    "page": f"{count} {rest}",
                }
                stream.write(json.dumps(row) + "\n")
                count += 1
    return count


class Anonymous(threading.Thread):
    """Watches the process's own memory; ``peak`` in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, status("RssAnon"))
            time.sleep(0.1)


def status(name: str) -> float:
    """A figure of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def ours(path: str, model: str) -> int:
    from aligntune_core.pipeline.plan import plan

    config = {
        "model_name": model,
        "dataset_name": path,
        "backend": "trl",
        "max_seq_length": 256,
        "completion_only_loss": True,
    }
    return len(plan({"algorithm": "sft", **config}).datasets.train)


def stock(path: str, model: str) -> int:
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def tokens(row: dict[str, Any]) -> dict[str, Any]:
        messages = [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
        prompt = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=True)
        return {
            **tokenizer.apply_chat_template(messages, return_dict=True),
            "prompt_length": len(prompt["input_ids"]),
        }

    return len(load_dataset("json", data_files=path, split="train").map(tokens))


def measured(how: str, path: str, model: str) -> None:
    from trl import SFTTrainer  # noqa: F401  what a run imports anyway

    before = status("VmRSS")
    watch = Anonymous()
    watch.start()
    started = time.perf_counter()
    rows = {"ours": ours, "stock": stock}[how](path, model)
    figures = {
        "how": how,
        "rows": rows,
        "file_mb": round(os.path.getsize(path) / 2**20),
        "seconds": round(time.perf_counter() - started, 1),
        "before_mb": round(before),
        "peak_mb": round(status("VmHWM")),
        "anonymous_mb": round(watch.peak),
    }
    print(json.dumps(figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--characters", type=int, default=4000, help="of the column that no run reads")
    parser.add_argument("--only", nargs=3, metavar=("HOW", "FILE", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measured(*options.only)
        return
    from aligntune_core.testing.tiny import make_tiny_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write(path, options.megabytes, options.characters)
        model = make_tiny_model(Path(folder) / "model")
        environ = {**os.environ, "HF_DATASETS_CACHE": str(Path(folder) / "cache"), "HF_HUB_OFFLINE": "1"}
        for how in ("stock", "ours"):
            command = [sys.executable, __file__, "--only", how, str(path), str(model)]
            subprocess.run(command, check=True, env=environ, cwd=folder)


if __name__ == "__main__":
    main()
