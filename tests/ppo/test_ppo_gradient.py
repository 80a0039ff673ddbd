"""The gradient of a whole PPO mini-batch against a second implementation: one row at a time, unpadded, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

PROMPTS = ("the cat", "dog", "the dog ran up", "cat sat")
# Ended early, ended in the last place, cut off, ended at once. 2 is </s>.
DRAWN = ([10, 4, 2, 0, 0, 0], [5, 10, 9, 3, 11, 2], [7, 7, 10, 8, 6, 5], [2, 0, 0, 0, 0, 0])
SCORES = (0.5, -1.0, 2.0, 0.25)
SETTINGS: dict[str, Any] = {
    "kl_estimator": "k3",
    "kl_coef": 0.3,
    "gamma": 0.9,
    "lam": 0.8,
    "temperature": 0.7,
    "cliprange": 0.05,
    "cliprange_value": 0.05,
    "vf_coef": 0.4,
    "missing_eos_penalty": 0.75,
    "max_completion_length": 6,
    "disable_dropout": True,
}


def tokens_of(row: int) -> list[int]:
    drawn = DRAWN[row]
    return drawn[: drawn.index(2) + 1] if 2 in drawn else drawn


def row_of(model: Any, head: Any, prompt: list[int], tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of ``tokens`` and values of the states before each and after the last."""
    output = model(input_ids=torch.tensor([prompt + tokens]), output_hidden_states=True)
    logprobs = torch.log_softmax(output.logits[0] / SETTINGS["temperature"], -1)
    start = len(prompt) - 1
    chosen = torch.stack([logprobs[start + i, token] for i, token in enumerate(tokens)])
    values = head(output.hidden_states[-1][0, start:])
    return chosen, values


def reference_loss(
    model: Any, head: Any, old: Any, old_head: Any, ref: Any, prompts: list[list[int]]
) -> torch.Tensor:
    """PPO's loss over the four rows, from the papers' formulas."""
    s = SETTINGS
    rows = []
    for i, prompt in enumerate(prompts):
        tokens = tokens_of(i)
        with torch.no_grad():
            old_logprobs, old_values = row_of(old, old_head, prompt, tokens)
            expected, _ = row_of(ref, old_head, prompt, tokens)
        states = min(len(tokens) + 1, s["max_completion_length"])
        old_values = old_values[:states]
        gap = expected - old_logprobs
        rewards = [-s["kl_coef"] * (gap[t].exp() - 1 - gap[t]) for t in range(len(tokens))]
        rewards += [torch.zeros(())] * (states - len(tokens))
        penalty = 0.0 if tokens[-1] == 2 else s["missing_eos_penalty"]
        rewards[-1] = rewards[-1] + SCORES[i] - penalty
        following = [*old_values[1:], 0.0]
        deltas = [rewards[t] + s["gamma"] * following[t] - old_values[t] for t in range(states)]
        advantages = [
            sum((s["gamma"] * s["lam"]) ** k * deltas[t + k] for k in range(states - t))
            for t in range(states)
        ]
        rows.append((prompt, tokens, states, old_logprobs, old_values, torch.stack(advantages)))

    every = torch.cat([row[5][: len(row[1])] for row in rows])
    mean, deviation = every.mean(), (every.var(unbiased=True) + 1e-8).sqrt()
    policy_terms, value_terms = [], []
    for prompt, tokens, states, old_logprobs, old_values, advantages in rows:
        logprobs, values = row_of(model, head, prompt, tokens)
        for t in range(len(tokens)):
            ratio, a = (logprobs[t] - old_logprobs[t]).exp(), (advantages[t] - mean) / deviation
            policy_terms.append(
                -torch.min(ratio * a, ratio.clamp(1 - s["cliprange"], 1 + s["cliprange"]) * a)
            )
        for t in range(states):
            target = advantages[t] + old_values[t]
            near = values[t].clamp(old_values[t] - s["cliprange_value"], old_values[t] + s["cliprange_value"])
            value_terms.append(torch.max((values[t] - target) ** 2, (near - target) ** 2) / 2)
    return torch.stack(policy_terms).mean() + s["vf_coef"] * torch.stack(value_terms).mean()


def disturb(module: Any, seed: int, size: float) -> None:
    """Move the trainable weights, as if updates had been taken."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(noise.to(parameter.dtype), alpha=size)


@pytest.mark.parametrize("micro_batch", [4, 1])
@pytest.mark.parametrize("adapter", [True, False])
def test_gradient_of_the_whole_loss(
    ppo: Callable[..., Any], words: Any, llama: Callable[..., Any], lora: Any, adapter: bool, micro_batch: int
) -> None:
    import copy

    from aligntune_trl.algorithms.ppo.figures import Figures

    original = llama().double()
    model = lora(llama()) if adapter else llama()
    model = model.double()
    trainer = ppo(
        model=model,
        score=lambda prompts, completions, columns: list(SCORES),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=4 // micro_batch,
        **({} if adapter else {"ref_model": copy.deepcopy(original)}),
        **SETTINGS,
    )
    trainer.model.double()
    disturb(trainer.model, 1, 0.1)  # away from the reference
    before = copy.deepcopy(trainer.model)

    def sample(policy: Any, prompts: Any, device: Any) -> Any:
        return trainer.sampler.complete(
            *trainer.sampler.encode(prompts, device), [torch.tensor(d) for d in DRAWN]
        )

    trainer.sampler.sample = sample
    experience = trainer._roll_out([{"prompt": text} for text in PROMPTS])
    disturb(trainer.model, 2, 0.02)  # away from the policy that sampled, so that clips decide some tokens
    figures = Figures()
    trainer._backward(trainer.model, experience, figures)
    assert 0 < figures.mean("clip_fraction") < 1
    assert 0 < figures.mean("value_clip_fraction") < 1

    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    trainer.model.zero_grad()
    prompts = [words(text)["input_ids"] for text in PROMPTS]
    loss = reference_loss(
        trainer.policy, trainer.model.value_head, before.policy, before.value_head, original, prompts
    )
    loss.backward()
    expected = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    assert figures.mean("policy_loss") + SETTINGS["vf_coef"] * figures.mean("value_loss") == pytest.approx(
        loss.item(), abs=1e-6
    )
    assert found.keys() == expected.keys()
    assert "value_head.score.weight" in found
    assert any("layers.0" in name for name in found)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-10), name
