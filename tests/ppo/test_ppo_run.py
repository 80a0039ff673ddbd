"""PPO through the public API: rewards of every kind, files of the run, continued adapters, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.backend

Build = Callable[..., Any]
ROWS = [{"prompt": [{"role": "user", "content": f"count to {i}"}], "answer": str(i)} for i in range(12)]


def length(completions: list[Any], **columns: Any) -> list[float]:
    return [float(len(completion[0]["content"])) for completion in completions]


def right(text: str, answer: str) -> float:
    return float(answer in text)


@pytest.fixture
def run(tiny_model_dir: Path, tmp_path: Path) -> Build:
    """``run(folder name, **keywords)``: a PPO trainer made through the public API."""
    from aligntune import create_rl_trainer

    def make(folder: str = "run", **keywords: Any) -> Any:
        settings: dict[str, Any] = {
            "model_name": str(tiny_model_dir),
            "dataset_name": ROWS,
            "algorithm": "ppo",
            "backend": "trl",
            "output_dir": str(tmp_path / folder),
            "reward_functions": [length],
            "max_steps": 2,
            "batch_size": 4,
            "response_length": 6,
            "learning_rate": 1e-3,
            "save_strategy": "no",
        } | keywords
        return create_rl_trainer(**settings)

    return make


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("use_peft", [True, False])
def test_a_whole_run(run: Build, tmp_path: Path, use_peft: bool) -> None:
    from transformers import Trainer

    trainer = run(
        use_peft=use_peft,
        **({"lora_r": 4} if use_peft else {}),
        reward_functions=[length, right],
        reward_function_weights=[0.5, 2.0],
        eval_dataset=ROWS[:3],
        eval_strategy="no",
    )
    result = trainer.train()
    assert isinstance(trainer.native, Trainer)
    assert result["total_steps"] == 2
    metrics = [line for line in lines(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in metrics] == [1, 2]
    for line in metrics:
        assert {"kl", "reward", "learning_rate", "grad_norm", "tokens_per_second", "epoch"} <= line.keys()
        weighted = 0.5 * line["rewards/length/mean"] + 2.0 * line["rewards/right/mean"]
        assert line["reward"] == pytest.approx(weighted)
    samples = lines(tmp_path / "run" / "samples.jsonl")
    assert [sample["step"] for sample in samples] == [1] * 4 + [2] * 4
    mean = sum(sample["reward"] for sample in samples[:4]) / 4
    assert metrics[0]["reward"] == pytest.approx(mean)
    figures = trainer.evaluate()
    assert {"eval_reward", "eval_kl", "eval_completion_length", "eval_truncated"} <= figures.keys()
    assert {"eval_rewards/length", "eval_rewards/right"} <= figures.keys()
    weights = "adapter_model.safetensors" if use_peft else "model.safetensors"
    assert (tmp_path / "run" / weights).is_file()
    assert len(trainer.generate("count to 3", max_new_tokens=3)) == 1


def test_parameters_reach_the_trainer(run: Build) -> None:
    given = {
        "temperature": 0.9,
        "top_p": 0.8,
        "kl_coef": 0.2,
        "kl_estimator": "k3",
        "cliprange": 0.1,
        "cliprange_value": 0.3,
        "vf_coef": 0.5,
        "gamma": 0.9,
        "lam": 0.8,
        "whiten_rewards": True,
        "whiten_advantages": False,
        "missing_eos_penalty": 0.5,
        "num_ppo_epochs": 2,
        "num_mini_batches": 2,
        "target_kl": 0.1,
        "rollout_batch_size": 2,
    }
    trainer = run(**given)
    assert {name: getattr(trainer.native.args, name) for name in given} == given
    assert {name: trainer.effective[f"parameters.{name}"] for name in given} == given
    assert trainer.native.args.max_completion_length == 6
    assert trainer.effective["rewards.functions"] == [length]


def test_a_stopped_run_goes_on_where_it_was(run: Build, tmp_path: Path) -> None:
    whole = run("whole", max_steps=4)
    whole.train()
    run("part", max_steps=4, save_strategy="steps", save_steps=2).train()
    resumed = run("part", max_steps=4)
    resumed.train(resume=tmp_path / "part" / "checkpoint-2")
    names = ("step", "loss", "reward", "kl", "grad_norm", "tokens")
    expected, found = (
        [{n: line[n] for n in names} for line in lines(tmp_path / f / "metrics.jsonl") if "loss" in line]
        for f in ("whole", "part")
    )
    assert found == expected
    steps = [sample["step"] for sample in lines(tmp_path / "part" / "samples.jsonl")]
    assert steps == [step for step in (1, 2, 3, 4) for _ in range(4)]


def test_streamed_rows(run: Build, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    trainer = run(
        dataset_name=str(tmp_path / "rows.jsonl"), streaming=True, reward_functions=[right], max_steps=4
    )
    trainer.train()
    samples = lines(tmp_path / "run" / "samples.jsonl")
    assert len(samples) == 4 * 4
    assert len({str(sample["prompt"]) for sample in samples}) == len(ROWS)


def test_a_continued_adapter_starts_at_kl_0(run: Build, tmp_path: Path) -> None:
    run("first", learning_rate=1e-2).train()
    again = run("second", model_name=str(tmp_path / "first"))
    assert again.native.reference.kind == "frozen adapter"
    again.train()
    first = lines(tmp_path / "second" / "metrics.jsonl")[0]
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    assert not (tmp_path / "second" / "ref").exists()


def test_a_reward_that_raises_names_the_sample(run: Build) -> None:
    def broken(text: str) -> float:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError) as caught:
        run(reward_functions=[broken]).train()
    assert any('reward "broken" raised on sample 0' in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"reward_functions": []}, "no reward is given"),
        ({"num_mini_batches": 3}, "num_mini_batches: 3 does not divide the rollout of 4"),
        ({"torch_compile": True}, "torch_compile"),
        ({"packing": True}, "packing"),
        ({"generation_kwargs": {"num_beams": 4}}, "num_beams"),
    ],
)
def test_what_cannot_work_is_refused_before_weights_load(
    run: Build, monkeypatch: pytest.MonkeyPatch, keywords: dict[str, Any], message: str
) -> None:
    from aligntune_core.errors import ConfigError
    from aligntune_trl.model import load

    monkeypatch.setattr(load, "load", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(ConfigError, match=message):
        run(**keywords)
