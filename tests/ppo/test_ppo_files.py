"""What PPO writes: a policy that plain libraries read, checkpoints that a run goes on from bit-equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.backend

Build = Callable[..., Any]


@pytest.mark.parametrize("adapter", [True, False])
def test_a_saved_policy_is_read_back_by_plain_libraries(
    ppo: Build, llama: Build, tmp_path: Path, adapter: bool, logprobs_of: Any
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    trainer = ppo(adapter=adapter, learning_rate=1e-2, score=lambda *a: [0, 1, 2, 3])
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert not (tmp_path / "saved" / "value_function.safetensors").exists()
    assert (tmp_path / "saved" / "tokenizer.json").exists()
    again = (
        PeftModel.from_pretrained(llama(), tmp_path / "saved")
        if adapter
        else AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    )
    assert logprobs_of(again, trainer).equal(logprobs_of(trainer.policy, trainer))


@pytest.mark.parametrize(("adapter", "separate"), [(True, False), (False, False), (True, True)])
def test_a_resumed_run_ends_bit_equal(
    ppo: Build, llama: Build, tmp_path: Path, adapter: bool, separate: bool, logged: Any, weights_of: Any
) -> None:
    def built(folder: str) -> Any:
        more = {"value_model": llama(3, "LlamaForSequenceClassification", num_labels=1)} if separate else {}
        return ppo(
            adapter=adapter,
            output_dir=str(tmp_path / folder),
            max_steps=5,
            learning_rate=1e-2,
            num_mini_batches=2,
            save_strategy="steps",
            save_steps=3,
            **more,
        )

    whole = built("run")
    whole.train()
    resumed = built("again")
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    expected = weights_of(whole.model)
    for name, weight in weights_of(resumed.model).items():
        assert weight.equal(expected[name]), name
    numbers = ("loss", "reward", "kl", "grad_norm", "entropy", "learning_rate")
    for line, other in zip(logged(whole)[3:], logged(resumed)[3:], strict=True):
        assert {n: line[n] for n in numbers} == {n: other[n] for n in numbers}


def test_a_policy_without_its_value_function_is_no_checkpoint(ppo: Build, tmp_path: Path) -> None:
    from aligntune_core.errors import CheckpointError

    trainer = ppo(save_strategy="steps", save_steps=1, max_steps=1)
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    (checkpoint / "value_function.safetensors").unlink()
    with pytest.raises(CheckpointError, match="value_function"):
        ppo().train(resume_from_checkpoint=str(checkpoint))


def test_the_best_checkpoint_is_loaded_at_the_end(ppo: Build, weights_of: Any) -> None:
    from datasets import Dataset

    rewards = iter([5.0, 1.0, 0.0])
    state: list[Any] = []

    def score(prompts: list[str], completions: list[str], columns: Any) -> list[float]:
        if "held" in columns:
            state.append(weights_of(trainer.model))
            return [next(rewards)] * len(prompts)
        return [float(i) for i in range(len(prompts))]

    trainer = ppo(
        score=score,
        eval_dataset=Dataset.from_list([{"prompt": "cat", "held": 1}]),
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        max_steps=3,
        learning_rate=1e-2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_reward",
        greater_is_better=True,
    )
    trainer.train()
    for name, weight in weights_of(trainer.model).items():
        assert weight.equal(state[0][name]), name
    assert not state[0]["value_head.score.weight"].equal(state[2]["value_head.score.weight"])
