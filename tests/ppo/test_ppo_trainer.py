"""The trainer on a tiny Llama: what an update is, what it changes and what it logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.backend

Build = Callable[..., Any]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[int]]:
    """Counts the optimiser steps of a trainer: returns a list with one entry a step, its update's number."""

    def watch(trainer: Any) -> list[int]:
        steps: list[int] = []
        create = trainer.create_optimizer

        def created(*args: Any) -> Any:
            optimizer = create(*args)
            step = optimizer.step

            def counting(*more: Any, **named: Any) -> Any:
                steps.append(trainer.state.global_step)
                return step(*more, **named)

            optimizer.step = counting
            return optimizer

        trainer.create_optimizer = created
        return steps

    return watch


def test_max_steps_counts_updates(ppo: Build, counted: Callable[[Any], list[int]]) -> None:
    trainer = ppo(
        max_steps=3, num_ppo_epochs=2, num_mini_batches=4, gradient_accumulation_steps=2, learning_rate=1e-3
    )
    steps = counted(trainer)
    trainer.train()
    assert trainer.state.global_step == 3
    assert steps == [update for update in range(3) for _ in range(2 * 4)]


def test_the_schedule_counts_updates(ppo: Build, logged: Any) -> None:
    trainer = ppo(max_steps=4, learning_rate=0.4, optim="sgd")
    trainer.train()
    assert [line["learning_rate"] for line in logged(trainer)] == pytest.approx([0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize("adapter", [True, False])
def test_an_update_changes_policy_and_value_head_alone(ppo: Build, adapter: bool, weights_of: Any) -> None:
    trainer = ppo(adapter=adapter, learning_rate=1e-2, max_steps=2, num_train_epochs=9)
    before = weights_of(trainer.model)
    trainer.train()
    moved = {
        name for name, old in before.items() if not old.equal(dict(trainer.model.named_parameters())[name])
    }
    trainable = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert moved == trainable
    assert {"value_head.score.weight", "value_head.score.bias"} < moved
    assert all("lora_" in name or "value_head" in name for name in moved) == adapter


def test_every_update_logs_its_figures(ppo: Build, logged: Any) -> None:
    trainer = ppo(max_steps=2, learning_rate=1e-3)
    trainer.train()
    for line in logged(trainer):
        assert {"loss", "learning_rate", "grad_norm", "epoch", "step", "num_tokens"} <= line.keys()
        assert {
            "reward",
            "reward_with_penalties",
            "kl",
            "entropy",
            "policy_loss",
            "value_loss",
        } <= line.keys()
        assert {"clip_fraction", "value_clip_fraction", "completion_length", "truncated"} <= line.keys()
        assert line["loss"] == pytest.approx(line["policy_loss"] + 0.1 * line["value_loss"], abs=1e-6)
    first = logged(trainer)[0]
    assert first["kl"] == pytest.approx(0, abs=1e-6)  # the policy is still the reference
    assert 1 <= first["completion_length"] <= 6


def test_figures_are_means_over_all_updates_since_the_last_line(ppo: Build, logged: Any) -> None:
    found = []
    for steps in (1, 4):
        trainer = ppo(max_steps=4, learning_rate=1e-3, logging_steps=steps)
        trainer.train()
        found.append([line["reward"] for line in logged(trainer)])
    assert sum(found[0]) > 0
    assert found[1] == [pytest.approx(sum(found[0]) / 4)]


def test_completions_are_shown_with_their_rewards(ppo: Build) -> None:
    seen: list[Any] = []
    rows = [{"prompt": text, "answer": i} for i, text in enumerate(("cat", "dog", "the cat", "up"))]

    def score(prompts: list[str], completions: list[str], columns: dict[str, list[Any]]) -> list[float]:
        assert [rows[i]["prompt"] for i in columns["answer"]] == prompts
        assert [
            len(ids) >= len(text.split())
            for ids, text in zip(columns["completion_ids"], completions, strict=True)
        ]
        return [float(i) for i in columns["answer"]]

    trainer = ppo(rows=rows, score=score, on_completions=lambda *a: seen.append(a), max_steps=2)
    trainer.train()
    assert [step for *_, step, _ in seen] == [1, 2]
    for prompts, completions, rewards, _, noted in seen:
        assert noted == {}
        assert len(completions) == 4
        assert rewards == [float([row["prompt"] for row in rows].index(prompt)) for prompt in prompts]


def test_noted_figures_are_logged(ppo: Build, logged: Any) -> None:
    seen: list[Any] = []

    def score(prompts: list[str], completions: list[str], columns: Any) -> list[float]:
        trainer.note("even", [0.0, 1.0, 0.0, 1.0])
        trainer.note("one", [7.0])
        return [0.0] * 4

    trainer = ppo(max_steps=1, score=score, on_completions=lambda *a: seen.append(a))
    trainer.train()
    assert logged(trainer)[0]["even/mean"] == 0.5
    assert logged(trainer)[0]["one/mean"] == 7.0
    assert seen[0][4] == {"even": [0.0, 1.0, 0.0, 1.0]}
    assert trainer.evaluate(trainer.train_dataset.select(range(4)))["eval_even"] == 0.5


def test_a_wrong_number_of_rewards_is_refused(ppo: Build) -> None:
    with pytest.raises(ValueError, match="3 rewards for 4 completions"):
        ppo(score=lambda *a: [0.0] * 3).train()


def test_a_reward_that_raises_is_not_swallowed(ppo: Build) -> None:
    def score(*args: Any) -> list[float]:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError):
        ppo(score=score).train()


def test_the_missing_end_is_penalised(ppo: Build, words: Any, logged: Any) -> None:
    from aligntune_trl.algorithms.ppo.experience import penalised

    assert penalised(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), 0.25).tolist() == [1.0, 0.75]
    assert penalised(torch.tensor([1.0]), torch.tensor([False]), None).tolist() == [1.0]
    trainer = ppo(
        score=lambda p, c, columns: [1.0] * len(p), missing_eos_penalty=2.0, max_steps=1, kl_coef=0.0
    )
    trainer.train()
    line = logged(trainer)[0]
    assert 0 < line["truncated"] < 1
    assert line["reward"] == 1.0
    assert line["reward_with_penalties"] == pytest.approx(1.0 - 2.0 * line["truncated"])


def test_target_kl_ends_the_passes_over_a_rollout(ppo: Build, counted: Callable[[Any], list[int]]) -> None:
    for limit, expected in ((1e-9, 2), (1e9, 5)):
        trainer = ppo(
            max_steps=1, num_ppo_epochs=5, target_kl=limit, learning_rate=1e-2, score=lambda *a: [0, 1, 2, 3]
        )
        steps = counted(trainer)
        trainer.train()
        # The first pass starts at KL 0; the second sees what the first did.
        assert len(steps) == expected


@pytest.mark.parametrize("adapter", [True, False])
def test_accumulation_does_not_change_an_update(ppo: Build, adapter: bool, weights_of: Any) -> None:
    found = []
    for batch, accumulation in ((4, 1), (2, 2), (1, 4)):
        trainer = ppo(
            adapter=adapter,
            score=lambda p, c, columns: [len(text) / 10 for text in c],
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            learning_rate=0.05,
            optim="sgd",
            whiten_rewards=True,
            max_steps=2,
        )
        trainer.train()
        found.append(weights_of(trainer.model))
    for other in found[1:]:
        for name, weight in found[0].items():
            assert torch.allclose(weight, other[name], atol=1e-6), name


def test_a_separate_value_model_learns_the_values(ppo: Build, llama: Build, weights_of: Any) -> None:
    value = llama(3, "LlamaForSequenceClassification", num_labels=1)
    before = weights_of(value)
    trainer = ppo(value_model=value, learning_rate=1e-2, max_steps=1, score=lambda *a: [0, 1, 2, 3])
    trainer.train()
    assert trainer.model.value_head is None
    assert not before["score.weight"].equal(value.score.weight)
    assert not before["model.layers.0.mlp.up_proj.weight"].equal(value.model.layers[0].mlp.up_proj.weight)


def test_evaluation_is_repeatable_and_leaves_training_as_it_was(ppo: Build, weights_of: Any) -> None:
    rows = [{"prompt": text} for text in ("the cat", "dog", "cat sat")]
    from datasets import Dataset

    plain = ppo(max_steps=4, learning_rate=1e-2)
    plain.train()
    trainer = ppo(
        max_steps=4,
        learning_rate=1e-2,
        eval_dataset=Dataset.from_list(rows),
        eval_strategy="steps",
        eval_steps=1,
    )
    trainer.train()
    for name, weight in weights_of(plain.model).items():
        assert weight.equal(dict(trainer.model.named_parameters())[name]), name
    first, second = trainer.evaluate(), trainer.evaluate()
    names = {
        "eval_reward",
        "eval_reward_with_penalties",
        "eval_kl",
        "eval_completion_length",
        "eval_truncated",
    }
    assert names <= first.keys()
    assert {name: first[name] for name in names} == {name: second[name] for name in names}
    assert first["eval_kl"] != 0


def test_a_loss_that_is_no_number_stops_the_run(ppo: Build) -> None:
    from aligntune_core.errors import NonFiniteLoss

    with pytest.raises(NonFiniteLoss, match="update 1"):
        ppo(score=lambda p, c, columns: [float("nan")] * len(p)).train()


def test_gradient_checkpointing_changes_no_number(ppo: Build, weights_of: Any) -> None:
    found = []
    for checkpointing in (False, True):
        trainer = ppo(max_steps=1, learning_rate=1e-2, gradient_checkpointing=checkpointing)
        trainer.train()
        assert trainer.policy.is_gradient_checkpointing == checkpointing
        found.append(weights_of(trainer.model))
    for name, weight in found[0].items():
        assert weight.allclose(found[1][name], atol=1e-6), name


def test_in_bf16_trained_weights_and_values_stay_float32(
    ppo: Build, llama: Build, lora: Any, logged: Any
) -> None:
    model = lora(llama().to(torch.bfloat16))
    trainer = ppo(model=model, bf16=True, max_steps=1, learning_rate=1e-2, score=lambda *a: [0, 1, 2, 3])
    trainer.train()
    assert {p.dtype for p in trainer.model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in trainer.model.parameters() if not p.requires_grad} == {torch.bfloat16}
    line = logged(trainer)[0]
    assert line["kl"] == pytest.approx(0, abs=1e-2)
    assert line["ratio"] == pytest.approx(1, abs=0.2)
    assert line["grad_norm"] > 0
