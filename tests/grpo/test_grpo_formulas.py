"""Each variant's loss, gradient and advantages equal the formulas of its paper, written out here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.grpo.conftest import Build

pytestmark = pytest.mark.backend

ADVANTAGES = [1.0, -0.5, 0.3, -0.8]
LENGTHS = [5, 3, 4, 2]
LIMIT = 8
SETTINGS: dict[str, dict[str, Any]] = {
    "grpo": {"epsilon": 0.2, "epsilon_high": None},
    "gspo": {},
    "dapo": {"mask_truncated_completions": True},
    "dr_grpo": {},
}


def given(masked: bool) -> dict[str, Any]:
    """Fixed log-probabilities, masks and advantages, in float64; ``masked``: the second row is left out of the loss."""
    import torch

    generator = torch.Generator().manual_seed(3)
    shape = (len(LENGTHS), max(LENGTHS))
    old = -3 * torch.rand(shape, generator=generator, dtype=torch.float64)
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS).unsqueeze(1)
    if masked:
        mask[1] = False
    return {
        "new": (old + 0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_(),
        "old_per_token_logps": old,
        "ref_per_token_logps": old + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64),
        "completion_mask": mask.long(),
        "advantages": torch.tensor(ADVANTAGES, dtype=torch.float64),
    }


def clipped(ratio: Any, advantage: float, low: float, high: float) -> Any:
    import torch

    return torch.min(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def expected(algorithm: str, x: dict[str, Any], beta: float, corrected: bool) -> Any:
    """The loss by the paper, token by token.

    GRPO: arXiv 2402.03300 eq. 3 with the estimator of eq. 4; GSPO: 2507.18071 eq. 5 to 7; DAPO: 2503.14476 eq. 8;
    Dr. GRPO: 2503.20783 section 3.2 with the budget of tokens as the constant. ``corrected``: the KL times the ratio.
    """
    import torch

    low, high = {"gspo": (3e-4, 4e-4), "dapo": (0.2, 0.28)}.get(algorithm, (0.2, 0.2))
    sums, counts = [], []
    for row, advantage in enumerate(ADVANTAGES):
        tokens = [t for t in range(max(LENGTHS)) if x["completion_mask"][row, t]]
        counts.append(len(tokens))
        log_ratios = [x["new"][row, t] - x["old_per_token_logps"][row, t] for t in tokens]
        terms = []
        for t, log_ratio in zip(tokens, log_ratios, strict=True):
            ratio = log_ratio.exp()
            if algorithm == "gspo":
                sequence = (sum(log_ratios[1:], log_ratios[0]) / len(log_ratios)).exp()
                term = clipped(sequence, advantage, low, high)
            else:
                term = clipped(ratio, advantage, low, high)
            if beta:
                away = x["ref_per_token_logps"][row, t] - x["new"][row, t]
                kl = away.exp() - away - 1
                factor = (sequence if algorithm == "gspo" else ratio) if corrected else 1.0
                term = term - beta * kl * factor
            terms.append(term)
        sums.append(sum(terms, torch.zeros((), dtype=torch.float64)))
    if algorithm in ("grpo", "gspo"):
        return -sum(s / n for s, n in zip(sums, counts, strict=True)) / len(sums)
    if algorithm == "dapo":
        return -sum(sums) / sum(counts)
    return -sum(sums) / (len(sums) * LIMIT)


def found(trainer: Any, x: dict[str, Any], rows: slice = slice(None), tokens: int | None = None) -> Any:
    """The trainer's loss on the same numbers."""
    import torch

    size = len(x["advantages"][rows])
    inputs = {name: value[rows] for name, value in x.items() if name != "new"}
    inputs |= {
        "prompt_ids": torch.ones(size, 2, dtype=torch.long),
        "prompt_mask": torch.ones(size, 2, dtype=torch.long),
        "completion_ids": torch.ones(size, max(LENGTHS), dtype=torch.long),
        "num_items_in_batch": x["completion_mask"].sum(),
    }
    logps = x["new"][rows]
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logps, torch.zeros_like(logps), None)
    trainer.model.train()
    return trainer.compute_loss(trainer.model, inputs)


@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("algorithm", SETTINGS)
def test_loss_and_gradient_equal_the_paper(algorithm: str, beta: float, build: Build) -> None:
    import torch

    corrected = algorithm != "grpo"  # both ways are covered, one by the paper's own algorithm
    trainer = build(
        algorithm,
        beta=beta,
        use_bias_correction_kl=corrected,
        max_completion_length=LIMIT,
        **SETTINGS[algorithm],
    ).native
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = 1
    x = given(masked=algorithm == "dapo")
    [gradient] = torch.autograd.grad(found(trainer, x), x["new"])
    wanted = expected(algorithm, x, beta, corrected)
    [wanted_gradient] = torch.autograd.grad(wanted, x["new"])
    assert found(trainer, x).item() == pytest.approx(wanted.item(), abs=1e-12)
    assert torch.allclose(gradient, wanted_gradient, rtol=0, atol=1e-12)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_micro_batches_add_up_to_the_whole(algorithm: str, build: Build) -> None:
    """DAPO divides by the tokens of the whole batch, not of the micro-batch; the others average micro-batches."""
    trainer = build(algorithm, max_completion_length=LIMIT).native
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = 2
    x = given(masked=False)
    halves = sum(found(trainer, x, rows).item() for rows in (slice(0, 2), slice(2, 4)))
    assert halves == pytest.approx(expected(algorithm, x, 0.0, False).item(), abs=1e-12)


REWARDS = [0.0, 1.0, 1.0, 3.0, 2.0, 2.0, 2.0, 5.0]


def scripted(completions: list[Any], **columns: Any) -> list[float]:
    return REWARDS[: len(completions)]


@pytest.mark.parametrize("algorithm", ["grpo", "dr_grpo"])
def test_advantages_are_relative_to_the_group(algorithm: str, build: Build) -> None:
    trainer = build(algorithm, reward_functions=[scripted]).native
    trainer.model.train()
    rows = [row for row in trainer.train_dataset.select(range(2)) for _ in range(4)]
    advantages = trainer._generate_and_score_completions(rows)["advantages"].tolist()
    wanted = []
    for group in (REWARDS[:4], REWARDS[4:]):
        mean = sum(group) / 4
        deviation = math.sqrt(sum((r - mean) ** 2 for r in group) / 3)
        wanted += [(r - mean) / (deviation + 1e-4) if algorithm == "grpo" else r - mean for r in group]
    assert advantages == pytest.approx(wanted, abs=1e-5)


def test_gradient_of_the_whole_model_equals_plain_transformers(build: Build, tiny_model_dir: Path) -> None:
    """Log-probabilities at the sampling temperature, of completions behind left-padded prompts."""
    import torch
    from transformers import AutoModelForCausalLM

    trainer = build("grpo", full=True, temperature=0.7, beta=0.1, use_bias_correction_kl=False).native
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    rows = [row for row in trainer.train_dataset.select([0, 11]) for _ in range(4)]
    rows[4:] = [{**row, "prompt": [{"role": "user", "content": "Add."}]} for row in rows[4:]]
    inputs = trainer._generate_and_score_completions(rows)
    trainer.compute_loss(trainer.model, inputs).backward()

    plain = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    loss = torch.zeros(())
    for row in range(8):
        prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()]
        completion = inputs["completion_ids"][row][inputs["completion_mask"][row].bool()]
        logits = plain(input_ids=torch.cat([prompt, completion]).unsqueeze(0)).logits[0] / 0.7
        logps = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, completion.unsqueeze(1)).squeeze(1)
        # At the first step the ratio is 1 and the policy is its reference: the KL and its gradient are 0.
        surrogate = (logps - logps.detach()).exp() * inputs["advantages"][row]
        loss = loss - surrogate.mean() / 8
    loss.backward()
    own = {name: p.grad for name, p in trainer.model.named_parameters()}
    for name, parameter in plain.named_parameters():
        assert torch.allclose(own[name], parameter.grad, rtol=1e-4, atol=1e-6), name
