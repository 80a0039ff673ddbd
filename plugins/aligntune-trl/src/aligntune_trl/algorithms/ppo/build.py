"""From a configuration to a PPO run: rewards, reference, samples, engine."""

from __future__ import annotations

from typing import Any

import torch

from aligntune_core import Datasets, LoadedModel, Prepared, RunContext
from aligntune_core.toolkit import RewardSet
from aligntune_trl import table
from aligntune_trl.algorithms.ppo.trainer import PPOTrainer
from aligntune_trl.model.adapter import frozen_policy
from aligntune_trl.online import rewards_bridge
from aligntune_trl.online.engine import OnlineEngine
from aligntune_trl.online.samples import Samples
from aligntune_trl.quiet import known_warnings_hidden, no_bars


class RewardedPPOTrainer(PPOTrainer):
    """``PPOTrainer`` on a set of rewards, with completions on file.

    Args:
        rewards: what scores completions; their weighted sum is the score.
        samples: takes each update's completions.
        arguments: the others of ``PPOTrainer``.
    """

    def __init__(self, rewards: RewardSet, samples: Samples, **arguments: Any) -> None:
        self.rewards, self.samples = rewards, samples
        self.reward_weights = torch.tensor(rewards.weights, dtype=torch.float64)
        super().__init__(score=self._scored, on_completions=self._kept, **arguments)

    def _scored(
        self, prompts: list[Any], completions: list[Any], columns: dict[str, list[Any]]
    ) -> list[float]:
        extras = {
            "trainer_state": self.state,
            "log_metric": lambda name, value: self.note(name, [float(value)]),
        }
        scores = self.rewards.score(prompts, completions, columns, columns["completion_ids"], extras)
        for name, values in zip(scores.names, scores.values, strict=True):
            self.note(f"rewards/{name}", values)
        return scores.total

    def _kept(
        self,
        prompts: list[Any],
        completions: list[Any],
        rewards: list[float],
        step: int,
        noted: dict[str, list[float]],
    ) -> None:
        each = {name: noted[f"rewards/{name}"] for name in self.rewards.names}
        self.samples.record(step, prompts, completions, rewards, each)


class PPOEngine(OnlineEngine):
    """The engine of PPO: the policy alone is the model, its value function belongs to the trainer."""

    @property
    def model(self) -> Any:
        """The policy: a transformers model, or peft's around one."""
        return self._trainer.policy


def build_ppo(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> RewardedPPOTrainer:
    """Build the trainer.

    The reference is the policy as loaded, at no cost where its adapter is fresh; a frozen copy of an adapter that was
    trained before; a frozen copy of the whole policy where there is no adapter.
    """
    parameters = config.parameters
    args = table.training_arguments(config, prepared)
    rewards = rewards_bridge.build(config, loaded.tokenizer, args.device, datasets.report)
    with no_bars():
        rewards.load()
    with known_warnings_hidden(), no_bars():
        return RewardedPPOTrainer(
            rewards=rewards,
            samples=Samples(
                run.output_dir if parameters.log_completions else None,
                parameters.log_completions_steps,
                parameters.equal_rewards_alarm,
            ),
            model=loaded.model,
            args=args,
            processing_class=loaded.tokenizer,
            train_dataset=datasets.train,
            eval_dataset=datasets.eval,
            ref_model=loaded.roles.get("reference") or frozen_policy(loaded.model),
            callbacks=list(config.run.callbacks),
        )


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> PPOEngine:
    """The engine of one PPO run."""
    return PPOEngine(build_ppo(loaded, config, datasets, prepared, run), loaded, config, datasets, run)
