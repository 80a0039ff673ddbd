"""PPO learns: on a toy reward it ends well above where it began, in each of three seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

UPDATES = 30


def test_reward_rises_in_every_seed(ppo: Callable[..., Any]) -> None:
    first, last = [], []
    for seed in range(3):
        trainer = ppo(
            adapter=True,
            rows=[{"prompt": text} for text in ("the cat", "dog", "the dog ran", "up") * 8],
            seed=seed,
            per_device_train_batch_size=32,
            num_ppo_epochs=2,
            max_steps=UPDATES,
            learning_rate=2e-2,
            lr_scheduler_type="constant",
            kl_coef=0.02,
        )
        trainer.train()
        rewards = [line["reward"] for line in trainer.state.log_history if "loss" in line]
        assert len(rewards) == UPDATES
        first.append(statistics.fmean(rewards[:5]))
        last.append(statistics.fmean(rewards[-5:]))
    spread = max(max(first) - min(first), max(last) - min(last))
    assert all(end - start > spread for start, end in zip(first, last, strict=True)), (first, last)
