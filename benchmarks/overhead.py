"""Measure aligntune's share of ``train()``: time inside its own callbacks and checks, within one run.

    python benchmarks/overhead.py --model HuggingFaceTB/SmolLM2-135M-Instruct --steps 12

Prints one JSON line: seconds in all, seconds of ours, their ratio, versions. What is ours: all of ``train()`` but the
library's own ``train`` and the saving of the weights (lock, manifest, log, checks of the result); and, inside the
library's, everything that runs between its steps, which enters through its trainer callbacks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

from aligntune.core.backend_factory import create_sft_trainer

ROWS = [
    {"prompt": f"What is {n} times {n + 1}?", "completion": f"{n} times {n + 1} is {n * (n + 1)}. " * 3}
    for n in range(64)
]


class Clock:
    """Adds up the time spent in the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **keywords: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **keywords)
            finally:
                self.seconds += time.perf_counter() - started
                self.calls += 1

        return timed


def timed_library(trainer: Any) -> Clock:
    """Time the library's training and the saving of weights."""
    clock = Clock()
    trainer.native.train = clock.wrap(trainer.native.train)
    trainer._engine.save = clock.wrap(trainer._engine.save)
    return clock


def timed_callbacks(trainer: Any) -> Clock:
    """Time every event method of the callbacks that are aligntune's."""
    clock = Clock()
    for callback in trainer.native.callback_handler.callbacks:
        if type(callback).__module__.startswith("aligntune"):
            for name in [n for n in dir(callback) if n.startswith("on_")]:
                setattr(callback, name, clock.wrap(getattr(callback, name)))
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="hub id or folder")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--backend", default="trl")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trainer = create_sft_trainer(
            options.model,
            ROWS,
            options.backend,
            output_dir=folder,
            max_steps=options.steps,
            batch_size=4,
            save_strategy="no",
        )
        library, callbacks = timed_library(trainer), timed_callbacks(trainer)
        whole = Clock()
        result = whole.wrap(trainer.train)()
        manifest = json.loads((trainer.output_dir / "aligntune.json").read_text())
    assert library.calls == 2, "the library's train and save were not both seen"
    around = whole.seconds - library.seconds
    ours = around + callbacks.seconds
    print(
        json.dumps(
            {
                "train_seconds": whole.seconds,
                "our_seconds": ours,
                "around_seconds": around,
                "callback_seconds": callbacks.seconds,
                "callback_calls": callbacks.calls,
                "share": ours / whole.seconds,
                "steps": result["total_steps"],
                "versions": manifest["versions"],
            }
        )
    )


if __name__ == "__main__":
    main()
