"""Our PPOTrainer against the last one that TRL had (1.12.0).

    python benchmarks/ppo_against_trl.py [--venv FOLDER] [--seeds 5] [--updates 30]

Makes a virtual environment with trl 1.12.0 and transformers 5.17.0, runs both trainers there on a toy and writes
benchmarks/results/ppo_against_trl.json and .md:

1. The first update on fixed completions: metrics and weights after it, for several settings. They must agree to 1e-5.
2. Reward and KL over the updates, each trainer sampling for itself, over several seeds: our means must lie within
   the spread (minimum to maximum, widened by the standard error) of TRL's seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PINS = (
    "torch==2.13.0",
    "trl==1.12.0",
    "transformers==5.17.0",
    "datasets==4.8.5",
    "peft==0.21.2",
    "accelerate==1.15.0",
    "pandas",
)
TOLERANCE = 1e-5

sys.path.insert(0, str(ROOT))
from benchmarks.ppo_toy import (  # noqa: E402
    LENGTH,
    PROMPTS,
    WORDS,
    llama,
    policy,
    share_module,
    share_of_yes,
    shared_value_module,
    tokenizer,
)

# Cases of the first update: arguments, whether an adapter trains, whether the backbone gives the values.
CASES: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "full, value model": ({}, False, False),
    "full, shared backbone": ({"kl_estimator": "k3"}, False, True),
    "LoRA, value model": ({"kl_estimator": "k3", "missing_eos_penalty": 0.5, "gamma": 0.9}, True, False),
    "LoRA, shared backbone": ({"lam": 0.5, "vf_coef": 0.5}, True, True),
    "LoRA, shared backbone, whitened rewards": (
        {"whiten_rewards": True, "missing_eos_penalty": 1.0},
        True,
        True,
    ),
    "LoRA, shared backbone, two mini-batches": ({"num_mini_batches": 2, "cliprange": 0.05}, True, True),
}
SHARED: dict[str, Any] = {
    "kl_coef": 0.05,
    "temperature": 0.7,
    "num_ppo_epochs": 4,
    "learning_rate": 0.05,
    "optim": "sgd",
}
NAMES = {
    "loss/policy_avg": "policy_loss",
    "loss/value_avg": "value_loss",
    "objective/kl": "kl",
    "objective/rlhf_reward": "reward_with_penalties",
}


def main() -> int:
    """Run the comparison and return 0 where everything agrees."""
    parser = argparse.ArgumentParser(description="compare PPOTrainer with TRL 1.12.0's")
    parser.add_argument("--venv", type=Path, help="folder of the virtual environment, kept and used again")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return compare(options.seeds, options.updates)
    with tempfile.TemporaryDirectory() as scratch:
        python = environment(options.venv or Path(scratch) / "venv")
        arguments = ["--inside", "--seeds", str(options.seeds), "--updates", str(options.updates)]
        return subprocess.run([str(python), __file__, *arguments], check=False).returncode


def environment(folder: Path) -> Path:
    """Python of a virtual environment with TRL 1.12.0 and this checkout."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*install, *PINS, "-e", str(ROOT)], check=True)
        subprocess.run([*install, "--no-deps", "-e", str(ROOT / "plugins" / "aligntune-trl")], check=True)
    return python


def compare(seeds: int, updates: int) -> int:
    """Both comparisons; writes the results."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    first = {name: first_update(*case) for name, case in CASES.items()}
    curves = {who: [curve(who, seed, updates) for seed in range(seeds)] for who in ("trl", "ours")}
    verdict = within_spread(curves)
    worst = max(value for case in first.values() for value in case.values())
    result = {
        "versions": versions(),
        "first_update_differences": first,
        "first_update_worst": worst,
        "tolerance": TOLERANCE,
        "seeds": seeds,
        "updates": updates,
        "curves": curves,
        "curves_verdict": verdict,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ppo_against_trl.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "ppo_against_trl.md").write_text(report(result), encoding="utf-8")
    print(report(result))
    return 0 if worst <= TOLERANCE and all(row["within"] for row in verdict.values()) else 1


def versions() -> dict[str, str]:
    """Versions of what took part."""
    from importlib.metadata import version

    return {
        name: version(name) for name in ("torch", "trl", "transformers", "peft", "accelerate", "datasets")
    }


# --- the two trainers ---------------------------------------------------------------------------------------


def arguments(rows: int, folder: str, **more: Any) -> dict[str, Any]:
    """Arguments that both trainers take."""
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": rows,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **SHARED,
        **more,
    }


def build_trl(model: Any, value: Any, settings: dict[str, Any], rows: Sequence[str], updates: int) -> Any:
    """TRL's trainer."""
    import copy

    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    words = tokenizer()
    args = PPOConfig(
        response_length=LENGTH,
        stop_token="eos",
        num_sample_generations=0,
        total_episodes=updates * settings["per_device_train_batch_size"],
        **settings,
    )
    data = Dataset.from_list([{"input_ids": words(text)["input_ids"]} for text in rows])
    reference = None if hasattr(model, "peft_config") else copy.deepcopy(model)
    return PPOTrainer(args, words, model, reference, share_module(), data, value, eval_dataset=data)


def build_ours(model: Any, value: Any, settings: dict[str, Any], rows: Sequence[str], updates: int) -> Any:
    """Our trainer; ``max_grad_norm=0`` because TRL's does not clip."""
    import copy

    from datasets import Dataset

    from aligntune_trl.algorithms.ppo import PPOConfig, PPOTrainer

    args = PPOConfig(max_completion_length=LENGTH, max_steps=updates, max_grad_norm=0.0, **settings)
    return PPOTrainer(
        model=model,
        args=args,
        processing_class=tokenizer(),
        train_dataset=Dataset.from_list([{"prompt": text} for text in rows]),
        score=share_of_yes,
        ref_model=None if hasattr(model, "peft_config") else copy.deepcopy(model),
        value_model=value,
    )


# --- 1: the first update ------------------------------------------------------------------------------------


def first_update(more: dict[str, Any], adapter: bool, shared: bool) -> dict[str, float]:
    """Largest differences, in metrics and in weights, after one update on fixed completions."""
    import numpy as np

    rows = PROMPTS * 2
    logs, weights = [], []
    for who in ("trl", "ours"):
        with tempfile.TemporaryDirectory() as folder:
            settings = arguments(len(rows), folder, **more)
            model = policy(1, adapter)
            separate = None if shared else llama(2, "LlamaForSequenceClassification", num_labels=1)
            if who == "trl":
                trainer = build_trl(model, separate or shared_value_module(model), settings, rows, 1)
                fix_trl(trainer, rows, settings["temperature"])
            else:
                trainer = build_ours(model, separate, settings, rows, 1)
                fix_ours(trainer)
            leave_reference(model)
            np.random.seed(0)
            trainer.train()
            logs.append(trainer.state.log_history)
            score = (
                separate.score
                if separate is not None
                else (trainer.model.value_model.score if who == "trl" else trainer.model.value_head.score)
            )
            weights.append([*model.state_dict().values(), *(separate or score).state_dict().values()])
    theirs, ours = logs[0][0], logs[1][0]
    differences = {ours_name: abs(theirs[name] - ours[ours_name]) for name, ours_name in NAMES.items()}
    differences["weights"] = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
    return differences


def leave_reference(model: Any) -> None:
    """Move the policy, so that its KL to the reference is not 0."""
    import torch

    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


def fixed_completions(prompts: Any) -> Any:
    """One completion a prompt: of several lengths, ended and cut off, decided by the row."""
    import torch

    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(3, len(WORDS), (len(prompts), LENGTH), generator=generator)
    for row in range(len(prompts)):
        end = 2 + row % (LENGTH + 2)
        if end < LENGTH:
            drawn[row, end] = WORDS.index("</s>")
            drawn[row, end + 1 :] = WORDS.index("<pad>")
    return drawn


def fix_trl(trainer: Any, rows: Sequence[str], temperature: float) -> None:
    """Make TRL's trainer take its rows in order and "sample" the fixed completions."""
    import torch
    from torch.utils.data import DataLoader
    from trl.experimental.ppo import ppo_trainer

    trainer.dataloader = trainer.accelerator.prepare(
        DataLoader(trainer.train_dataset, batch_size=len(rows), collate_fn=trainer.data_collator)
    )

    def batch_generation(model: Any, queries: Any, size: int, pad: int, config: Any) -> Any:
        whole = torch.cat([queries, fixed_completions(queries)], dim=1)
        logits = ppo_trainer.forward(model, whole, pad).logits[:, queries.shape[1] - 1 : -1]
        return whole, logits / (temperature + 1e-7)

    ppo_trainer.batch_generation = batch_generation


def fix_ours(trainer: Any) -> None:
    """Make our trainer take its rows in order and "sample" the fixed completions."""
    from torch.utils.data import SequentialSampler

    sampler = trainer.sampler
    trainer._get_train_sampler = lambda dataset=None: SequentialSampler(trainer.train_dataset)

    def sample(model: Any, prompts: Any, device: Any) -> Any:
        ids, mask = sampler.encode(prompts, device)
        return sampler.complete(ids, mask, list(fixed_completions(prompts)))

    sampler.sample = sample


# --- 2: the curves ------------------------------------------------------------------------------------------


def curve(who: str, seed: int, updates: int) -> dict[str, list[float]]:
    """Reward and KL at each update of a run that samples for itself."""
    import importlib

    from trl.experimental.ppo import ppo_trainer

    importlib.reload(ppo_trainer)  # without the fixed completions
    sys.modules["trl.experimental.ppo"].PPOTrainer = ppo_trainer.PPOTrainer  # type: ignore[attr-defined]
    rows = PROMPTS * 8
    with tempfile.TemporaryDirectory() as folder:
        more = {"optim": "adamw_torch", "learning_rate": 5e-3, "lr_scheduler_type": "constant", "seed": seed}
        settings = arguments(32, folder, **{**more, "temperature": 1.0})
        model = policy(7, adapter=True)
        if who == "trl":
            trainer = build_trl(model, shared_value_module(model), settings, rows, updates)
            names = {"reward": "objective/scores", "kl": "objective/kl"}
        else:
            trainer = build_ours(model, None, settings, rows, updates)
            names = {"reward": "reward", "kl": "kl"}
        trainer.train()
        lines = [line for line in trainer.state.log_history if names["kl"] in line]
    return {ours: [line[name] for line in lines] for ours, name in names.items()}


def within_spread(curves: dict[str, list[dict[str, list[float]]]]) -> dict[str, dict[str, Any]]:
    """Whether our mean over seeds lies within TRL's seeds, for the last fifth of the updates."""
    import statistics

    verdict = {}
    for name in ("reward", "kl"):
        late = {
            who: [statistics.fmean(run[name][-(len(run[name]) // 5) :]) for run in runs]
            for who, runs in curves.items()
        }
        error = statistics.stdev(late["trl"]) / len(late["trl"]) ** 0.5
        mean = statistics.fmean(late["ours"])
        low, high = min(late["trl"]) - error, max(late["trl"]) + error
        verdict[name] = {
            "trl": late["trl"],
            "ours": late["ours"],
            "ours_mean": mean,
            "low": low,
            "high": high,
        }
        verdict[name]["within"] = low <= mean <= high
    return verdict


def report(result: dict[str, Any]) -> str:
    """The results in Markdown."""
    names = [*NAMES.values(), "weights"]
    lines = [
        "# PPO against TRL 1.12.0",
        "",
        "Made by `python benchmarks/ppo_against_trl.py` with "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        + ", on a CPU.",
        "",
        "## First update on fixed completions",
        "",
        f"Largest absolute difference; the tolerance is {result['tolerance']:g}. Four epochs, SGD with learning rate "
        f"{SHARED['learning_rate']}, so that weights differ by what gradients differ by.",
        "",
        "| case | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for case, differences in result["first_update_differences"].items():
        lines.append(f"| {case} | " + " | ".join(f"{differences[name]:.1e}" for name in names) + " |")
    lines += [
        "",
        f"## Curves over {result['seeds']} seeds",
        "",
        f"Mean of the last fifth of {result['updates']} updates, AdamW, LoRA, shared backbone.",
        "",
        "| figure | TRL, each seed | ours, each seed | our mean | TRL's spread | within |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["curves_verdict"].items():
        each = [" ".join(f"{value:.3f}" for value in row[who]) for who in ("trl", "ours")]
        spread = f"{row['low']:.3f} to {row['high']:.3f}"
        mean, within = f"{row['ours_mean']:.3f}", "yes" if row["within"] else "no"
        lines.append(f"| {name} | {each[0]} | {each[1]} | {mean} | {spread} | {within} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
