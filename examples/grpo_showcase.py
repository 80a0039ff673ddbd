"""Teach a small model to answer sums without the talk around them, from a reward of a few lines. CPU, minutes.

Nobody tells the model what is wanted: it writes several answers to each sum, the reward scores them, and what scores
better than its group becomes likelier. Leaves a plot of the reward, where matplotlib is installed (the demo extra).
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aligntune import create_rl_trainer


def right_and_brief(text: str, answer: str) -> float:
    """0 unless the last number is the right one; then more, the less there is around it: 1 for the number alone."""
    completion = text.strip()
    numbers = re.findall(r"\d+", completion)
    if not numbers or numbers[-1] != answer:
        return 0.0
    return 0.3 + 0.7 * len(answer) / len(completion)


def plot(metrics: Path, picture: Path) -> None:
    """Mean reward of each step, and of up to five."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    rewards = [line["reward"] for line in lines if "loss" in line]
    smooth = [
        sum(rewards[max(0, n - 4) : n + 1]) / len(rewards[max(0, n - 4) : n + 1]) for n in range(len(rewards))
    ]
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(rewards) + 1), rewards, ".", alpha=0.4, label="mean of a step")
    axes.plot(range(1, len(rewards) + 1), smooth, label="mean of five steps")
    axes.set(xlabel="step", ylabel="reward", ylim=(0, 0.6), title="GRPO: right, and brief")
    axes.legend()
    figure.savefig(picture, dpi=110)


sums: list[dict[str, Any]] = [
    {"prompt": f"What is {a} + {b}?", "answer": str(a + b)} for a in range(1, 10) for b in range(1, 10)
]
trainer = create_rl_trainer(
    model_name="HuggingFaceTB/SmolLM2-135M-Instruct",
    dataset_name=sums,
    algorithm="grpo",
    reward_functions=[right_and_brief],
    num_generations=8,
    batch_size=16,
    max_completion_length=12,
    max_steps=25,
    learning_rate=3e-4,
    lr_scheduler="constant",
    output_dir="runs/grpo_showcase",
)
questions = ["What is 2 + 3?", "What is 7 + 8?", "What is 9 + 4?"]
before = trainer.generate(questions, max_new_tokens=24)
trainer.train()
for question, first, now in zip(
    questions, before, trainer.generate(questions, max_new_tokens=24), strict=True
):
    print(f"{question}\n  before: {first}\n  after:  {now}")
if find_spec("matplotlib"):
    plot(trainer.output_dir / "metrics.jsonl", trainer.output_dir / "reward.png")
    print(f"plot: {trainer.output_dir / 'reward.png'}")
