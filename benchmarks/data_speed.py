"""Seconds that the preparation of 100,000 rows takes: pairs, conversations, preferences.

python benchmarks/data_speed.py [ROWS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from aligntune_core.algorithms import find
from aligntune_core.config import resolve_config
from aligntune_core.config.resolve.resolution import resolve
from aligntune_core.data import prepare_datasets
from aligntune_core.testing.tiny import make_tokenizer
from aligntune_core.types import Device


def conversation(i: int) -> dict[str, Any]:
    roles = ("user", "assistant") * 2
    return {"messages": [{"role": role, "content": f"{role} says {i}"} for role in roles]}


KINDS: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "pairs": ("sft", lambda i: {"prompt": f"What is {i} plus 1?", "completion": f"It is {i + 1}."}),
    "conversations": ("sft", conversation),
    "preferences": (
        "dpo",
        lambda i: {"prompt": f"What is {i}?", "chosen": f"A number, {i}.", "rejected": "No."},
    ),
}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    tokenizer = make_tokenizer()
    for kind, (algorithm, row) in KINDS.items():
        rows = [row(i) for i in range(count)]
        call = "sft" if algorithm == "sft" else "rl"
        own = {} if algorithm == "sft" else {"algorithm": algorithm}
        config = resolve_config(call, model_name="unused", dataset_name=rows, **own)
        config = resolve(config, Device(kind="cpu"))
        start = time.process_time()
        prepare_datasets(config, find(algorithm), tokenizer)
        print(f"{kind}: {time.process_time() - start:.1f} s for {count} rows")


if __name__ == "__main__":
    main()
