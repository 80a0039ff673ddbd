"""What a user sees of the GRPO family: runs, files, figures, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import BadRows, ConfigError, RewardError, RunError

if TYPE_CHECKING:
    from tests.grpo.conftest import Build, Look, Rows

pytestmark = pytest.mark.backend

ALGORITHMS = ("grpo", "gspo", "dapo", "dr_grpo")


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_trains_logs_and_saves(
    algorithm: str, full: bool, build: Build, look: type[Look], ending: Any, tiny_model_dir: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    trainer = build(algorithm, full=full, generation_kwargs=ending, eval_dataset=[{"prompt": "Add 1."}])
    start = look.logits(trainer.model)
    result = trainer.train()
    trained = look.logits(trainer.model)
    assert not torch.equal(trained, start)
    base = trainer.output_dir if full else tiny_model_dir
    saved = AutoModelForCausalLM.from_pretrained(base)
    if not full:
        saved = PeftModel.from_pretrained(saved, trainer.output_dir)
    assert torch.equal(look.logits(saved), trained)

    assert result["total_steps"] == 2
    for step in look.steps(trainer):
        assert {"reward", "completion_length", "truncated", "grad_norm", "learning_rate", "tokens"} <= set(
            step
        )
    samples = look.lines(trainer, "samples.jsonl")
    drawn = 1 if algorithm == "gspo" else 2
    assert len(samples) == (32 if algorithm == "gspo" else 8) * drawn
    assert samples[0]["prompt"][0]["content"].startswith("Add ")
    assert samples[0]["rewards"]["letters"] == len(samples[0]["completion"]) % 7
    figures = trainer.evaluate()
    assert {"eval_reward", "eval_kl", "reward", "completion_length", "truncated"} - set(figures) == (
        {"eval_kl"} if full else set()
    )


def test_rewards_get_the_columns_and_their_weights(build: Build, look: type[Look]) -> None:
    seen: list[Any] = []

    def whole(
        prompts: Any, completions: Any, answer: Any, completion_ids: Any, trainer_state: Any, log_metric: Any
    ) -> list[float]:
        seen.append((prompts, answer, completion_ids, trainer_state.global_step))
        log_metric("asked", 3.0)
        return [float(a) for a in answer]

    def single(text: str, answer: str) -> float:
        return float(len(text))

    trainer = build(
        reward_functions=[whole, single, {"type": "overlong", "weight": 0.3}],
        reward_function_weights=[0.1, 2, 0.3],
    )
    trainer.train()
    prompts, answers, ids, step = seen[0]
    assert [p[0]["content"].split()[1] for p in prompts] == [str((int(a) - 1) // 2) for a in answers]
    assert len(ids) == 8
    assert step == 0
    first = look.lines(trainer, "samples.jsonl")[0]
    each = first["rewards"]
    assert each == {"whole": float(answers[0]), "single": float(len(first["completion"])), "overlong": -1.0}
    assert first["reward"] == pytest.approx(0.1 * each["whole"] + 2 * each["single"] - 0.3, rel=1e-6)
    assert look.steps(trainer)[0]["asked"] == 3.0
    assert trainer.effective["rewards.weights"] == [0.1, 2.0, 0.3]


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_text_prompts_reach_a_reward_as_texts(algorithm: str, build: Build) -> None:
    seen: list[Any] = []

    def f(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        seen.extend([*prompts, *completions])
        return [float(len(text)) for text in completions]

    rows = [{"prompt": f"Add {n}."} for n in range(8)]
    keywords = {"num_generations": None} if algorithm == "ppo" else {}
    build(algorithm, dataset_name=rows, reward_functions=[f], max_steps=1, **keywords).train()
    assert {type(text) for text in seen} == {str}
    assert "Add 3." in seen


def test_dapo_adds_the_punishment_once(build: Build) -> None:
    assert build("dapo", overlong_punishment=0).native.reward_func_names == ["letters"]
    own = build("dapo", reward_functions=["overlong", "length"], overlong_cache=2).native
    assert own.reward_func_names == ["overlong", "length"]
    added = build("dapo", overlong_punishment=0.5, overlong_cache=2).native
    assert added.reward_func_names == ["letters", "overlong"]
    assert added.reward_weights.tolist() == [1.0, 0.5]
    [function] = added.reward_funcs[1:]
    assert function(["p"] * 3, ["c"] * 3, [[1] * 6, [1] * 7, [1] * 8]) == [0.0, -0.5, -1.0]


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"num_epochs": 2.5},
        {"gradient_accumulation_steps": 2, "batch_size": 4},
        {"num_iterations": 2},
        {"steps_per_generation": 3, "batch_size": 4},
        {"gradient_accumulation_steps": 3, "batch_size": 4, "num_epochs": 2},
    ],
)
def test_steps_are_counted_as_the_trainer_counts_them(keywords: dict[str, Any], build: Build) -> None:
    trainer = build(max_steps=None, max_samples=11, max_completion_length=1, **keywords)
    native, planned = trainer.native, trainer.config.optim.max_steps
    # Given no number of steps, transformers counts for itself.
    native.args.max_steps, native.args.num_train_epochs = -1, trainer.config.optim.num_epochs
    native.train()
    assert native.state.global_step == planned


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_draws_one_completion_a_prompt_unless_asked(build: Build, prompts: Rows) -> None:
    seen: list[list[str]] = []

    def count(completions: list[Any], answer: list[str]) -> list[float]:
        seen.append(answer)
        return [float(a) for a in answer]

    rows = prompts[:5]
    trainer = build(reward_functions=[count], eval_dataset=rows, eval_batch_size=2)
    figures = trainer.evaluate()
    assert sorted(a for batch in seen for a in batch) == sorted(row["answer"] for row in rows)
    # The mean over prompts, though the last batch is smaller.
    assert figures["eval_reward"] == pytest.approx(sum(int(r["answer"]) for r in rows) / 5)
    assert figures["eval_kl"] == pytest.approx(0, abs=1e-9)
    assert (figures["eval_completion_length"], figures["eval_truncated"]) == (8.0, 1.0)
    assert "eval_loss" not in figures

    seen.clear()
    build("grpo", "four", reward_functions=[count], eval_dataset=rows, num_generations_eval=4).evaluate()
    assert [seen[0].count(row["answer"]) for row in rows[:2]] in ([4, 4], [4, 0], [0, 4], [0, 0])
    assert sum(map(len, seen)) == 20


def test_evaluation_changes_nothing_of_training(build: Build, look: type[Look], prompts: Rows) -> None:
    plain = build("grpo", "plain", max_steps=3)
    plain.train()
    watched = build(
        "grpo", "watched", max_steps=3, eval_dataset=prompts[:3], eval_strategy="steps", eval_steps=1
    )
    before = watched.evaluate()
    watched.train()
    assert look.losses(watched.native) == look.losses(plain.native)
    lines = [line for line in look.lines(watched) if "eval_reward" in line]
    assert len(lines) == 4
    assert lines[0]["eval_reward"] == before["eval_reward"]
    assert lines[0]["eval_kl"] == 0
    assert lines[-1]["eval_kl"] > 0


def test_kl_of_a_full_fine_tune_is_measured_where_it_has_a_reference(build: Build, prompts: Rows) -> None:
    trainer = build(full=True, beta=0.1, eval_dataset=prompts[:3], learning_rate=1e-2)
    assert trainer.evaluate()["eval_kl"] == pytest.approx(0, abs=1e-9)
    trainer.train()
    assert trainer.evaluate()["eval_kl"] > 1e-4


def test_the_best_checkpoint_is_told_by_reward(build: Build, prompts: Rows) -> None:
    best: dict[str, Any] = {
        "eval_dataset": prompts[:2],
        "load_best_model_at_end": True,
        "save_strategy": "steps",
        "save_steps": 1,
        "eval_steps": 1,
    }
    with pytest.raises(ConfigError, match='metric_for_best_model="eval_reward"'):
        build(**best)
    trainer = build(**best, metric_for_best_model="eval_reward")
    trainer.train()
    assert trainer.native.state.best_metric is not None


# --- the reference ----------------------------------------------------------------------------------------------------


def test_the_reference_of_a_model_in_memory_is_that_model(
    build: Build, look: type[Look], tiny_model_dir: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2)  # no longer what its path holds
    start = look.logits(model)
    trainer = build(model_name=model, full=True, beta=0.1)
    trainer.train()
    assert look.steps(trainer)[0]["kl"] == pytest.approx(0, abs=1e-9)
    assert torch.equal(look.logits(trainer.native.ref_model), start)
    assert not torch.equal(look.logits(trainer.model), start)


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_a_continued_adapter_is_its_own_reference(
    beta: float, build: Build, look: type[Look], prompts: Rows, tmp_path: Path
) -> None:
    build("grpo", "first", learning_rate=1e-2).train()
    second = build("grpo", "second", model_name=str(tmp_path / "first"), beta=beta, eval_dataset=prompts[:2])
    assert second.evaluate()["eval_kl"] == pytest.approx(0, abs=1e-9)
    second.train()
    assert second.evaluate()["eval_kl"] > 0
    if beta:
        assert look.steps(second)[0]["kl"] == pytest.approx(0, abs=1e-9)
    assert not [path for path in second.output_dir.rglob("*") if path.name == "ref"]


# --- samples and the alarm --------------------------------------------------------------------------------------------


def test_completions_are_shown_every_so_often_and_can_be_switched_off(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "aligntune"):
        build("grpo", "shown", max_steps=5, log_completions_steps=2).train()
        shown = [r.getMessage().split(",")[0] for r in caplog.records if "best of 8" in r.getMessage()]
        assert shown == ["step 1", "step 3", "step 5"]
        caplog.clear()
        silent = build("grpo", "silent", log_completions=False)
        silent.train()
    assert "completion" not in caplog.text
    assert not (silent.output_dir / "samples.jsonl").exists()
    assert not (silent.output_dir / "completions").exists()


def test_an_alarm_says_that_nothing_is_learnt(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    constant: Callable[..., Any] = lambda completions, **_: [0.25] * len(completions)  # noqa: E731
    build("grpo", "equal", max_steps=4, reward_functions=[constant], equal_rewards_alarm=3).train()
    [alarm] = [r.getMessage() for r in caplog.records if "nothing to learn from" in r.getMessage()]
    assert "since step 1" in alarm
    assert "now 0.25, 0.25" in alarm
    caplog.clear()
    build("grpo", "differ", max_steps=4, equal_rewards_alarm=1).train()
    assert "nothing to learn from" not in caplog.text


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "keywords", "error", "text"),
    [
        ("grpo", {"batch_size": 6}, ConfigError, "num_generations=3 or 6, or batch_size=4 or 8"),
        ("grpo", {"num_generations": 1}, ConfigError, "greater than or equal to 2"),
        (
            "grpo",
            {"loss_type": "dapo", "importance_sampling_level": "sequence"},
            ConfigError,
            'loss_type="grpo"',
        ),
        ("grpo", {"reward_functions": None}, ConfigError, "no reward is given"),
        ("grpo", {"reward_functions": ["lenght"]}, ConfigError, 'Did you mean "length"'),
        ("grpo", {"reward_functions": [lambda x: 0]}, ConfigError, "first parameter, x"),
        ("grpo", {"generation": "vllm"}, ConfigError, "needs the vllm package"),
        ("grpo", {"vllm_options": {"vllm_mode": "server"}}, ConfigError, 'needs generation="vllm"'),
        ("grpo", {"truncation_mode": "keep_end"}, ConfigError, "truncation_mode"),
        ("grpo", {"sync_ref_model": True, "beta": 0.1}, ConfigError, "use_peft=False"),
        ("grpo", {"lora_bias": "all", "beta": 0.1}, ConfigError, 'take lora_bias="none" or beta=0'),
        ("grpo", {"max_prompt_length": 5}, BadRows, r"\d+ tokens, 5 are allowed"),
        ("dapo", {"max_samples": 12, "streaming": True}, ConfigError, "dynamic_sampling=False"),
        ("dapo", {"overlong_cache": 9}, ConfigError, "more than max_completion_length=8"),
    ],
)
def test_what_cannot_work_is_refused_before_weights_load(
    algorithm: str,
    keywords: dict[str, Any],
    error: type[Exception],
    text: str,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.delattr(AutoModelForCausalLM, "from_pretrained")
    with pytest.raises(error, match=text):
        build(algorithm, **keywords)


def test_long_prompts_are_left_out_when_asked(build: Build, prompts: Rows) -> None:
    rows = [{"prompt": "Add 1 and 2, then " + "very " * n + "slowly."} for n in (1, 2, 60, 3)]
    trainer = build(dataset_name=rows, max_prompt_length=40, on_bad_rows="drop", max_steps=1)
    assert len(trainer.native.train_dataset) == 3
    trainer.train()
    trainer.native.args.max_prompt_length = 5
    with pytest.raises(RunError, match="5 are allowed: raise max_prompt_length"):
        trainer.native._check_prompts([[0] * 6])


def test_prompts_have_what_max_seq_length_leaves(build: Build) -> None:
    with pytest.raises(BadRows, match=r"\d+ tokens, 12 are allowed"):
        build(max_seq_length=20)


def test_masking_that_leaves_nothing_stops_the_run(build: Build) -> None:
    trainer = build("dapo", max_completion_length=4)
    with pytest.raises(RunError, match=r"step 1: all 8 completions hit max_completion_length=4 .* Raise"):
        trainer.train()


def test_a_reward_that_raises_names_the_sample(build: Build) -> None:
    def failing(text: str) -> float:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        build(reward_functions=[failing]).train()
    assert any('reward "failing" raised on sample 0' in note for note in caught.value.__notes__)
    with pytest.raises(RewardError, match='reward "lambda" gave None'):
        build("grpo", "none", reward_functions=[lambda completions: [None] * len(completions)]).train()


# --- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["grpo", "gspo"])
def test_resume_ends_like_an_uninterrupted_run(algorithm: str, build: Build, look: type[Look]) -> None:
    # gspo: across the end of an epoch, whose order is drawn anew; grpo: within one.
    keywords = {"max_steps": 8} if algorithm == "gspo" else {"max_steps": 4}
    cut = keywords["max_steps"] // 2
    whole = build(algorithm, "whole", **keywords)
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": cut}
    build(algorithm, "cut", **keywords, **saving).train()
    again = build(algorithm, "cut", **keywords, **saving)
    again.train(resume=again.output_dir / f"checkpoint-{cut}")
    assert [s["loss"] for s in look.steps(again)] == [s["loss"] for s in look.steps(whole)]
    assert look.lines(again, "samples.jsonl") == look.lines(whole, "samples.jsonl")
    weights = [(t.output_dir / "adapter_model.safetensors").read_bytes() for t in (again, whole)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("step", "told"), [(1, True), (2, False)])
def test_a_resume_within_a_draw_is_told(
    step: int, told: bool, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    keywords = {"max_steps": 3, "num_iterations": 2, "save_strategy": "steps", "save_steps": step}
    build("grpo", **keywords).train()
    again = build("grpo", **keywords)
    again.train(resume=again.output_dir / f"checkpoint-{step}")
    assert (f"step {step} lies within one draw of completions" in caplog.text) is told


def test_the_order_of_prompts_follows_data_seed(build: Build, look: type[Look]) -> None:
    asked = {}
    for seed in (42, 7):
        trainer = build("grpo", str(seed), max_steps=1, data_seed=seed)
        trainer.train()
        asked[seed] = [line["prompt"] for line in look.lines(trainer, "samples.jsonl")]
    assert asked[42] != asked[7]


def test_a_reasoning_task_makes_rows_and_rewards(build: Build, look: type[Look]) -> None:
    pytest.importorskip("reasoning_gym")
    trainer = build(
        dataset_name="reasoning_gym/chain_sum?min_terms=2&max_terms=2",
        max_samples=8,
        reward_functions=["reasoning_gym", letters_of],
        max_completion_length=4,
    )
    trainer.train()
    first = look.lines(trainer, "samples.jsonl")[0]
    assert first["prompt"][0]["content"]
    assert 0 <= first["rewards"]["reasoning_gym"] <= 1


def letters_of(text: str) -> float:
    return float(len(text))


def test_quantised_weights_have_a_reference(build: Build, look: type[Look]) -> None:
    quantised = build("grpo", "4bit", quantization={"load_in_4bit": True}, beta=0.1)
    quantised.train()
    assert quantised.effective["model.quantization.load_in_4bit"] is True
    assert look.steps(quantised)[0]["kl"] == pytest.approx(0, abs=1e-6)


def test_vllm_gets_its_own_arguments() -> None:
    from aligntune_trl.algorithms.grpo.config import GroupConfig

    common: dict[str, Any] = {"output_dir": "out", "use_cpu": True, "bf16": False, "generation": "vllm"}
    args = GroupConfig(**common, vllm_options={"vllm_mode": "server", "vllm_server_port": 9})
    assert (args.use_vllm, args.vllm_mode, args.vllm_server_port) == (True, "server", 9)
    with pytest.raises(ConfigError, match=r"TRL has no vllm_server_prt\. Did you mean"):
        GroupConfig(**common, vllm_options={"vllm_server_prt": 9})
