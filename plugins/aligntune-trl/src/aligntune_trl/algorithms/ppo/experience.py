"""From sampled completions to what PPO learns from: rewards, advantages, returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aligntune_trl.algorithms.ppo import objective
from aligntune_trl.algorithms.ppo.config import PPOConfig
from aligntune_trl.algorithms.ppo.rollout import Completions
from aligntune_trl.algorithms.ppo.value_head import Sequences


@dataclass(frozen=True)
class Experience:
    """One rollout, scored. All but ``sequences`` have shape (rows, states) unless said otherwise.

    Attributes:
        sequences: prompts with completions.
        mask: sampled tokens.
        state_mask: sampled tokens and the state after the last.
        logprobs: of the sampled tokens under the policy that sampled them; 0 outside ``mask``.
        values: at the rollout; 0 outside ``state_mask``.
        advantages: whitened where asked for; 0 outside ``mask``.
        returns: what the values should have been.
        kl: estimate of the KL to the reference at each token; 0 outside ``mask``.
        scores: (rows,) after the missing-end penalty.
    """

    sequences: Sequences
    mask: Tensor
    state_mask: Tensor
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    kl: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, index: Tensor) -> Experience:
        """The rows of ``index``."""
        tensors = {name: value[index] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Experience(sequences=self.sequences.rows(index), **tensors)


def penalised(scores: Tensor, finished: Tensor, penalty: float | None) -> Tensor:
    """Scores less ``penalty`` where the completion did not end by itself."""
    return scores if penalty is None else torch.where(finished, scores, scores - penalty)


def learn_from(
    completions: Completions,
    logprobs: Tensor,
    reference: Tensor,
    values: Tensor,
    scores: Tensor,
    args: PPOConfig,
    reduce: objective.Reduce,
) -> Experience:
    """Rewards, advantages and returns of a rollout.

    Args:
        completions: what was sampled.
        logprobs: (rows, states) of the tokens under the policy.
        reference: (rows, states) of the tokens under the reference.
        values: (rows, states) of the states.
        scores: (rows,) of the completions.
        args: coefficients.
        reduce: sums a tensor over processes, for whitening.
    """
    mask, state_mask = completions.mask, completions.state_mask
    logprobs, values = logprobs.where(mask, 0), values.where(state_mask, 0)
    scores = penalised(scores, completions.finished, args.missing_eos_penalty)
    kl = objective.kl_per_token(logprobs, reference.where(mask, 0), args.kl_estimator)
    rewards = objective.token_rewards(scores, kl, completions.lengths, args.kl_coef)
    if args.whiten_rewards:
        rewards = objective.whiten(rewards, state_mask, shift_mean=False, reduce=reduce)
    advantages = objective.generalized_advantages(rewards, values, args.gamma, args.lam)
    returns = advantages + values
    if args.whiten_advantages:
        advantages = objective.whiten(advantages, mask, reduce=reduce)
    return Experience(
        completions.sequences,
        mask,
        state_mask,
        logprobs,
        values,
        advantages.where(mask, 0),
        returns,
        kl,
        scores,
    )
