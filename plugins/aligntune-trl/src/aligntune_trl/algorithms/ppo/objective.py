"""The mathematics of PPO: pure functions on tensors of shape (rows, tokens), nothing about models or devices.

Masks are boolean, True where a value counts. Values outside a mask may be anything finite. Two masks occur: ``mask``
marks the sampled tokens of a completion; ``state_mask`` marks those and, where the completion ended before the limit,
one more state: the one reached by its last token. The score is paid there, so the value head learns it there.

Papers: PPO (https://arxiv.org/abs/1707.06347), GAE (https://arxiv.org/abs/1506.02438), the KL penalty in the reward
(https://arxiv.org/abs/1909.08593).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k3"]
Reduce = Callable[[Tensor], Tensor]


def _local(statistics: Tensor) -> Tensor:
    return statistics


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is True; 0 where nothing is."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of each of ``tokens`` (rows, tokens) under ``logits`` (rows, tokens, vocabulary), in nats."""
    chosen = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return chosen - torch.logsumexp(logits, dim=-1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the next-token distribution at each position, in nats."""
    logprobs = torch.log_softmax(logits, dim=-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def kl_per_token(logprobs: Tensor, reference: Tensor, estimator: KLEstimator) -> Tensor:
    """Estimate KL(policy || reference) at each sampled token, in nats (http://joschu.net/blog/kl-approx.html).

    Args:
        logprobs: of the sampled tokens under the policy that sampled them.
        reference: of the same tokens under the reference.
        estimator: "k1" = log p - log q: unbiased, may be negative. "k3" = q/p - 1 - log(q/p): unbiased, never negative.

    Raises:
        ValueError: another estimator.
    """
    ratio = reference - logprobs
    if estimator == "k1":
        return -ratio
    if estimator == "k3":
        return torch.expm1(ratio) - ratio
    raise ValueError(f'kl_estimator is "k1" or "k3", not {estimator!r}')


def token_rewards(scores: Tensor, kl: Tensor, lengths: Tensor, kl_coef: float) -> Tensor:
    """Reward of each token: the KL penalty everywhere, the score once, at the end of the completion.

    Args:
        scores: (rows,) one score a completion.
        kl: (rows, tokens) KL estimate, 0 outside the completion.
        lengths: (rows,) sampled tokens of each completion.
        kl_coef: weight of the KL penalty.

    The score is paid in the state after the last token; in the last token itself where the completion fills the width.
    """
    rewards = -kl_coef * kl
    end = lengths.clamp(max=kl.shape[1] - 1)
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, end] = rewards[rows, end] + scores
    return rewards


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True, reduce: Reduce = _local) -> Tensor:
    """Scale ``values`` to unit variance (Bessel-corrected) over ``mask``; 0 outside it.

    Args:
        values: what to whiten.
        mask: what counts.
        shift_mean: move the mean to 0; otherwise it stays where it is.
        reduce: sums a tensor over all processes, so that every process whitens with the same statistics.
    """
    count, total = reduce(torch.stack([mask.sum().to(values.dtype), (values * mask).sum()]))
    mean = total / count.clamp(min=1)
    centred = (values - mean) * mask
    variance = reduce(centred.square().sum()) / (count - 1).clamp(min=1)
    whitened = centred * torch.rsqrt(variance + 1e-8)
    return whitened if shift_mean else whitened + mean * mask


def generalized_advantages(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimation: A_t = sum over k of (gamma lam)^k (r_{t+k} + gamma V_{t+k+1} - V_{t+k}).

    Args:
        rewards: (rows, tokens), 0 outside the states that count.
        values: (rows, tokens), 0 outside the states that count; the value beyond the last column is 0.
        gamma: discount, 0..1.
        lam: 0 = one-step temporal difference, 1 = Monte Carlo return minus value.
    """
    following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)
    deltas = rewards + gamma * following - values
    running = torch.zeros_like(deltas[:, 0])
    advantages = []
    for t in reversed(range(deltas.shape[1])):
        running = deltas[:, t] + gamma * lam * running
        advantages.append(running)
    return torch.stack(advantages[::-1], dim=1)


def clipped_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, cliprange: float
) -> tuple[Tensor, Tensor, Tensor]:
    """PPO's surrogate at each token, to be minimised.

    Returns:
        loss, whether the clip decided it, and the importance ratio; each (rows, tokens).
    """
    ratio = torch.exp(logprobs - old_logprobs)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return torch.maximum(plain, clipped), clipped > plain, ratio


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, cliprange_value: float
) -> tuple[Tensor, Tensor]:
    """Half the squared error of the value at each state, the larger of clipped and unclipped.

    Returns:
        loss, and whether the clip decided it; each (rows, tokens).
    """
    near = torch.clamp(values, old_values - cliprange_value, old_values + cliprange_value)
    plain, clipped = (values - returns).square(), (near - returns).square()
    return 0.5 * torch.maximum(plain, clipped), clipped > plain
