"""Each formula of PPO against a second implementation: plain Python loops in float64."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch

from aligntune_trl.algorithms.ppo import objective

ROWS, WIDTH = 5, 7


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def mask() -> torch.Tensor:
    lengths = torch.tensor([7, 1, 3, 6, 2]).unsqueeze(1)
    return torch.arange(WIDTH).unsqueeze(0) < lengths


def test_log_probabilities_and_entropy() -> None:
    logits, tokens = random(2, 3, 4), torch.tensor([[0, 3, 1], [2, 2, 0]])
    logprobs, entropy = objective.token_logprobs(logits, tokens), objective.entropy(logits)
    for b in range(2):
        for t in range(3):
            weights = [math.exp(x) for x in logits[b, t].tolist()]
            share = [w / sum(weights) for w in weights]
            assert logprobs[b, t].item() == pytest.approx(math.log(share[int(tokens[b, t])]), abs=1e-12)
            assert entropy[b, t].item() == pytest.approx(-sum(p * math.log(p) for p in share), abs=1e-12)


def test_kl_estimators() -> None:
    p, q = random(ROWS, WIDTH) - 2, random(ROWS, WIDTH, seed=1) - 2
    k1, k3 = objective.kl_per_token(p, q, "k1"), objective.kl_per_token(p, q, "k3")
    for b in range(ROWS):
        for t in range(WIDTH):
            log_ratio = q[b, t].item() - p[b, t].item()
            assert k1[b, t].item() == pytest.approx(-log_ratio, abs=1e-12)
            assert k3[b, t].item() == pytest.approx(math.exp(log_ratio) - 1 - log_ratio, abs=1e-12)
    assert (k3 >= 0).all()
    with pytest.raises(ValueError, match="k2"):
        objective.kl_per_token(p, q, "k2")  # type: ignore[arg-type]


def test_kl_estimators_are_unbiased() -> None:
    policy, reference = torch.softmax(random(6), 0), torch.softmax(random(6, seed=1), 0)
    exact = (policy * (policy / reference).log()).sum()
    estimators: tuple[objective.KLEstimator, ...] = ("k1", "k3")
    for estimator in estimators:
        estimates = objective.kl_per_token(policy.log(), reference.log(), estimator)
        assert (policy * estimates).sum().item() == pytest.approx(exact.item(), abs=1e-12)


def test_the_score_is_paid_after_the_last_token_or_in_it_where_the_width_ends() -> None:
    kl = torch.zeros(3, 4, dtype=torch.float64)
    kl[:, 0] = 2.0
    scores = torch.tensor([1.0, -3.0, 5.0], dtype=torch.float64)
    rewards = objective.token_rewards(scores, kl, torch.tensor([4, 3, 1]), 0.5)
    assert rewards.tolist() == [[-1, 0, 0, 1], [-1, 0, 0, -3], [-1, 5, 0, 0]]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 1.0), (1.0, 0.0)])
def test_generalised_advantages_are_the_sum_in_the_paper(gamma: float, lam: float) -> None:
    rewards, values = random(ROWS, WIDTH), random(ROWS, WIDTH, seed=1)
    found = objective.generalized_advantages(rewards, values, gamma, lam)
    for b in range(ROWS):
        v = [*values[b].tolist(), 0.0]
        delta = [rewards[b, t].item() + gamma * v[t + 1] - v[t] for t in range(WIDTH)]
        for t in range(WIDTH):
            expected = sum((gamma * lam) ** k * delta[t + k] for k in range(WIDTH - t))
            assert found[b, t].item() == pytest.approx(expected, abs=1e-12)


def test_with_lambda_1_returns_do_not_depend_on_values() -> None:
    rewards = random(ROWS, WIDTH)
    for seed in (1, 2):
        values = random(ROWS, WIDTH, seed=seed)
        returns = objective.generalized_advantages(rewards, values, 1.0, 1.0) + values
        assert torch.allclose(returns, rewards.flip(1).cumsum(1).flip(1), atol=1e-12)


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitening(mask: torch.Tensor, shift_mean: bool) -> None:
    values = random(ROWS, WIDTH) * 3 + 2
    found = objective.whiten(values, mask, shift_mean=shift_mean)
    counted = values[mask].tolist()
    mean = sum(counted) / len(counted)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in counted) / (len(counted) - 1) + 1e-8)
    expected = [(x - mean) / deviation + (0 if shift_mean else mean) for x in counted]
    assert found[mask].tolist() == pytest.approx(expected, abs=1e-12)
    assert (found[~mask] == 0).all()


def test_whitening_of_equal_or_single_values_is_finite() -> None:
    one = torch.ones(1, 1, dtype=torch.bool)
    assert objective.whiten(torch.full((1, 1), 3.0), one).item() == 0
    assert objective.whiten(torch.full((2, 2), 3.0), torch.ones(2, 2, dtype=torch.bool)).abs().max() == 0


def test_every_process_whitens_with_the_statistics_of_all(mask: torch.Tensor) -> None:
    values = random(ROWS, WIDTH) * 3 + 2
    parts, barrier, shared, found = [slice(0, 2), slice(2, ROWS)], threading.Barrier(2), {}, {}

    def process(rank: int) -> None:
        def reduce(tensor: torch.Tensor) -> torch.Tensor:
            shared[rank] = tensor
            barrier.wait()
            total = shared[0] + shared[1]
            barrier.wait()
            return total

        found[rank] = objective.whiten(values[parts[rank]], mask[parts[rank]], reduce=reduce)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert torch.allclose(torch.cat([found[0], found[1]]), objective.whiten(values, mask), atol=1e-12)


def test_clipped_policy_loss() -> None:
    new, old, advantages = random(ROWS, WIDTH), random(ROWS, WIDTH, seed=1), random(ROWS, WIDTH, seed=2)
    loss, clipped, ratio = objective.clipped_policy_loss(new, old, advantages, 0.2)
    for b in range(ROWS):
        for t in range(WIDTH):
            r, a = math.exp(new[b, t].item() - old[b, t].item()), advantages[b, t].item()
            bounded = min(max(r, 0.8), 1.2)
            assert ratio[b, t].item() == pytest.approx(r, abs=1e-12)
            assert loss[b, t].item() == pytest.approx(-min(r * a, bounded * a), abs=1e-12)
            assert bool(clipped[b, t]) == (bounded * a < r * a)


@pytest.mark.parametrize(
    ("ratio", "advantage", "gradient"),
    [(1.0, 1.0, -1.0), (1.3, 1.0, 0.0), (0.7, 1.0, -0.7), (1.3, -1.0, 1.3), (0.7, -1.0, 0.0)],
)
def test_the_clip_stops_the_gradient_only_where_the_policy_gains(
    ratio: float, advantage: float, gradient: float
) -> None:
    new = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    old = torch.zeros(1, 1, dtype=torch.float64)
    objective.clipped_policy_loss(new, old, torch.tensor([[advantage]]), 0.2)[0].sum().backward()
    assert new.grad is not None
    assert new.grad.item() == pytest.approx(gradient, abs=1e-12)


def test_clipped_value_loss() -> None:
    values, old, returns = random(ROWS, WIDTH), random(ROWS, WIDTH, seed=1), random(ROWS, WIDTH, seed=2)
    loss, clipped = objective.clipped_value_loss(values, old, returns, 0.3)
    for b in range(ROWS):
        for t in range(WIDTH):
            v, o, r = (x[b, t].item() for x in (values, old, returns))
            near = min(max(v, o - 0.3), o + 0.3)
            assert loss[b, t].item() == pytest.approx(max((v - r) ** 2, (near - r) ** 2) / 2, abs=1e-12)
            assert bool(clipped[b, t]) == ((near - r) ** 2 > (v - r) ** 2)


def test_figures_add_up_over_updates() -> None:
    from aligntune_trl.algorithms.ppo.figures import Figures

    whole: Any = Figures()
    for start in (0, 3):
        part = Figures()
        part.add("x", torch.arange(start, start + 3))
        part.add("y", torch.tensor([1.0, 100.0]), torch.tensor([True, False]))
        whole.extend([part])
    assert whole.means() == {"x": 2.5, "y": 1.0}
