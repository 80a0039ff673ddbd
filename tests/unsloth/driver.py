"""Run jobs on one backend and write down what they did: ``python driver.py JOBS.json OUT.json``.

A process of its own a backend, since unsloth patches what trl runs on. Tests import ``run`` for the trl side.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

WORDS = ["bread", "water", "salt", "yeast", "flour", "oven", "bowl", "hour", "minute", "warm", "cold", "slow"]
TIMED = ("step_time",)
ONLINE = ("ppo", "grpo", "dapo", "dr_grpo")
IDS = range(4, 60)
"""Tokens on which logits are compared."""


def _words(number: int, length: int) -> str:
    return " ".join(WORDS[(number * 7 + i * (number + 3)) % len(WORDS)] for i in range(length))


def _said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def rows(algorithm: str) -> list[dict[str, Any]]:
    """Conversational rows of the algorithm, of unequal lengths."""
    found = []
    for i in range(22):
        row: dict[str, Any] = {"prompt": _said("user", _words(i, 2 + i % 5))}
        if algorithm == "sft":
            row["completion"] = _said("assistant", _words(i + 1, 3 + i % 4))
        elif algorithm == "kto":
            row |= {"completion": _said("assistant", _words(i + 1, 3 + i % 4)), "label": i % 3 != 0}
        elif algorithm in ("dpo", "reward"):
            row["chosen"] = _said("assistant", _words(i + 1, 3 + i % 4))
            row["rejected"] = _said("assistant", _words(i + 2, 2 + i % 5))
        found.append(row)
    return found


def vowels(completions: list[Any], **columns: Any) -> list[float]:
    """A reward that tells completions apart: the share of vowels."""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in texts]


def fixed(prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
    """Completions that no model has a say in: of each prompt's tokens and place, ended by <|im_end|>."""
    return [
        [*(40 + (7 * row + 13 * place + sum(ids)) % 90 for place in range(2 + row % 4)), 3]
        for row, ids in enumerate(prompt_ids)
    ], None


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Build, train, and say what was in force, what was logged, and where the weights began and ended.

    Args:
        job: algorithm, backend and keywords of the call; weights are saved below its output_dir. ``fixed``: GRPO takes
            the completions of the function of that name.
    """
    import torch

    from aligntune import BackendType, create_rl_trainer, create_sft_trainer

    torch.set_num_threads(1)
    algorithm, keywords = job["algorithm"], dict(job["keywords"])
    if keywords.get("backend") == "BackendType":  # JSON has no enums
        keywords["backend"] = BackendType.UNSLOTH
    keywords.setdefault("dataset_name", rows(algorithm))
    if algorithm in ONLINE and not keywords.get("reward_model_name"):
        keywords.setdefault("reward_functions", [vowels])
    make = create_sft_trainer if algorithm == "sft" else create_rl_trainer
    trainer = make(**keywords) if algorithm == "sft" else make(algorithm=algorithm, **keywords)
    folder = Path(keywords["output_dir"])
    start = {n: p.detach().cpu().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
    torch.save(start, folder / "start.pt")
    batches = _watched(trainer.native)
    if job.get("fixed"):
        trainer.native._generate_single_turn = fixed
    result = trainer.train()
    if job.get("merge"):
        trainer.save_model(folder / "merged", merged=True)
    torch.save(logits(trainer.model), folder / "logits.pt")
    return {
        "effective": {k: repr(v) for k, v in trainer.effective.items()},
        "planned": {k: repr(v) for k, v in trainer.planned.items()},
        "log": [
            {k: v for k, v in entry.items() if isinstance(v, (int, float)) and k not in TIMED}
            for entry in trainer.native.state.log_history
            if "loss" in entry
        ],
        "steps": result.steps,
        "batches": batches,
        "answers": [] if algorithm == "reward" else trainer.generate(["hi", "bread"], max_new_tokens=6),
        "trainer_class": type(trainer.native).__module__,
    }


def _watched(native: Any) -> list[list[int]]:
    """A list that grows with the shape of every micro-batch that the trainer takes."""
    seen: list[list[int]] = []
    step = native.training_step

    def training_step(model: Any, inputs: Any, *more: Any, **keywords: Any) -> Any:
        if isinstance(inputs, list):  # online algorithms take rows
            seen.append([len(inputs), sum(map(ord, str([row["prompt"] for row in inputs])))])
        else:
            seen.append([*inputs["input_ids"].shape, int(inputs["input_ids"].sum())])
        return step(model, inputs, *more, **keywords)

    native.training_step = training_step
    return seen


def logits(model: Any) -> Any:
    """Logits on fixed tokens, in evaluation mode and float32, on the CPU."""
    import torch

    ids = torch.arange(IDS.start, IDS.stop, device=next(model.parameters()).device).unsqueeze(0)
    training = model.training
    model.eval()
    with torch.no_grad():
        found = model(input_ids=ids, use_cache=False).logits.float().cpu()
    model.train(training)
    return found


def main(jobs: Path, out: Path) -> None:
    """Run every job of a file; one that fails is written down with its error."""
    results: dict[str, Any] = {}
    for name, job in json.loads(jobs.read_text()).items():
        try:
            results[name] = run(job)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))[-3000:]
            results[name] = {"error": f"{type(error).__name__}: {error}", "trace": trace}
        out.write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
