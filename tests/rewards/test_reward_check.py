"""``aligntune reward check``: what it scores, what it warns of, and the command itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aligntune_core.config.schema.sections import RewardsConfig
from aligntune_core.errors import DataError
from aligntune_core.rewards import build_rewards
from aligntune_core.rewards.check import CheckReport, check_rewards

Run = Callable[..., Result]

ROWS = [{"prompt": [{"role": "user", "content": f"{n} + {n}?"}], "answer": str(2 * n)} for n in range(20)]


def check(*functions: Any, rows: list[dict[str, Any]] = ROWS, **more: Any) -> CheckReport:
    return check_rewards(build_rewards(RewardsConfig(functions=list(functions))), rows, **more)


def test_right_answers_score_higher_than_other_rows_answers() -> None:
    report = check("math")
    assert report.ok
    assert report.references == "answer"
    found = report.rewards["math"]
    assert (found["references"].count, found["references"].mean, found["references"].std) == (20, 1.0, 0.0)
    assert (found["others"].count, found["others"].mean) == (20, 0.0)
    assert found["references"].histogram == (0,) * 9 + (20,)
    assert found["others"].histogram == (20,) + (0,) * 9
    assert report.rewards["total"] == report.rewards["math"]


def test_references_are_said_as_the_model_would_say_them() -> None:
    seen: list[Any] = []

    def f(prompts: list[Any], completions: list[Any], answer: list[str]) -> list[float]:
        seen.extend(zip(prompts, completions, answer, strict=True))
        return [float(c[0]["content"] == a) for c, a in zip(completions, answer, strict=True)]

    assert check(f).ok
    prompt, completion, answer = seen[3]
    assert (prompt, completion, answer) == (ROWS[3]["prompt"], [{"role": "assistant", "content": "6"}], "6")
    assert check(lambda text, answer: text == answer, rows=[{"prompt": "q", "answer": a} for a in "ab"]).ok


def test_others_are_answers_of_other_rows_that_differ() -> None:
    rows = [{"prompt": "q", "solution": s} for s in ("1+1 = 2\n#### 2", "so\n#### 2", "#### 3")]
    seen: list[tuple[str, str]] = []

    def f(text: str, solution: str) -> float:
        seen.append((text, solution))
        return float(text == solution)

    report = check(f, rows=rows)
    assert report.references == "solution"
    assert report.rewards["f"]["others"].count == 3
    assert all(text.endswith("#### 2") != solution.endswith("#### 2") for text, solution in seen[3:])


def test_all_equal_is_warned_of() -> None:
    report = check("think_format", "math")
    assert not report.ok
    [warning] = report.warnings
    assert warning.startswith('reward "think_format" gave 0 for each of the 40 texts')
    assert check("think_format").warnings[1].startswith("the total gave 0 for each of the 40 texts")


def test_references_that_do_not_score_higher_are_warned_of() -> None:
    def backwards(text: str, answer: str) -> float:
        return float(text != answer)

    first, second = check(backwards).warnings
    assert first.startswith(
        'reward "backwards" does not score references higher than other rows\' references (0 against 1)'
    )
    assert second.startswith("the total does not score references higher")
    # A reward that reads no reference cannot tell them apart; only the total is judged by it.
    [warning] = check({"type": "length", "params": {"min_length": 2, "unit": "characters"}}).warnings
    assert warning.startswith("the total does not")


def test_sampled_completions() -> None:
    asked: list[Any] = []

    def sample(prompts: list[Any]) -> list[str]:
        asked.extend(prompts)
        return ["0", "dunno", "4"]

    report = check("math", "length", sample=sample, samples=3)
    assert asked == [row["prompt"] for row in ROWS[:3]]
    assert report.rewards["math"]["samples"].mean == pytest.approx(2 / 3)
    assert report.samples[2] == {
        "prompt": ROWS[2]["prompt"],
        "completion": "4",
        "rewards": {"math": 1.0, "length": 0.1},
        "total": 1.1,
    }
    assert report.ok is False  # all texts are one word long
    alike = check("math", sample=lambda prompts: ["dunno"] * len(prompts), samples=4)
    assert "the total gave 0 for each of the 4 sampled completions" in alike.warnings[0]


def test_rows_without_a_right_answer() -> None:
    rows: list[dict[str, Any]] = [{"prompt": "a"}, {"prompt": "b"}]
    with pytest.raises(DataError, match=r"nothing to score: no row has a right answer.*--samples N"):
        check("length", rows=rows)
    report = check("length", rows=rows, sample=lambda prompts: ["one", "one two"], samples=2)
    assert report.references is None
    assert set(report.rewards["length"]) == {"samples"}
    some: list[dict[str, Any]] = [
        {"prompt": "a", "answer": None},
        {"prompt": "b", "answer": "x"},
        {"prompt": "c", "answer": "y"},
    ]
    assert check("exact_answer", rows=some).rewards["total"]["references"].count == 2


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def reward_check(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``aligntune reward check`` on a configuration with some settings replaced."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.jsonl").write_text(
        "".join(json.dumps({"question": f"{n} + {n}?", "answer": str(2 * n)}) + "\n" for n in range(12))
    )

    def run(*words: str, **settings: Any) -> Result:
        from aligntune.cli.app import app

        whole = {
            "algorithm": "grpo",
            "model_name": str(tiny_model_dir),
            "dataset_name": "sums.jsonl",
            "reward_functions": ["exact_answer"],
            **settings,
        }
        (tmp_path / "run.yaml").write_text(json.dumps(whole))
        return CliRunner().invoke(app, ["reward", "check", "run.yaml", *words])

    return run


def test_the_command_scores_rows_without_a_model(reward_check: Run) -> None:
    result = reward_check("--json", model_name="/nowhere/at/all")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["ok"], found["references"], found["warnings"]) == (True, "answer", [])
    assert found["rewards"]["exact_answer"]["references"]["mean"] == 1.0
    assert found["rewards"]["exact_answer"]["references"]["count"] == 12
    assert found["rewards"]["exact_answer"]["others"]["mean"] == 0.0


def test_the_command_scores_procedural_tasks(reward_check: Run) -> None:
    pytest.importorskip("reasoning_gym")
    task = "reasoning_gym/chain_sum?min_terms=2&max_terms=2"
    result = reward_check("--json", dataset_name=task, reward_functions=["reasoning_gym"], max_samples=9)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["rewards"]["reasoning_gym"]
    assert (found["references"]["mean"], found["references"]["count"]) == (1.0, 9)
    assert found["others"]["mean"] < 0.2


def test_the_command_samples_and_counts_tokens(reward_check: Run) -> None:
    rewards = ["exact_answer", {"type": "overlong", "weight": 0.5}]
    result = reward_check("--json", "--samples", "2", reward_functions=rewards, max_completion_length=8)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [s["prompt"][0]["role"] for s in found["samples"]] == ["user", "user"]
    assert found["rewards"]["overlong"]["samples"]["count"] == 2
    again = reward_check("--json", "--samples", "2", reward_functions=rewards, max_completion_length=8)
    assert json.loads(again.stdout)["samples"] == found["samples"]


def test_the_command_prints_a_table_and_warns(reward_check: Run) -> None:
    result = reward_check(reward_functions=["exact_answer", "think_format"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any(line.split()[:3] == ["exact_answer", "1", "references"] for line in lines), result.stdout
    assert 'warning: reward "think_format" gave 0 for each of the 24 texts' in result.stdout
    assert "Right answers score higher than other rows' answers." in reward_check().stdout


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"reward_functions": ["math_correctness"]}, 2, 'the nearest is "math"'),
        ({"reward_functions": []}, 2, "no reward is given"),
        ({"dataset_name": "sum.jsonl"}, 2, "sums.jsonl"),
        ({"algorithm": "dpo", "reward_functions": []}, 2, "has no rewards to check"),
        ({"reward_functions": ["builtins:len"]}, 2, "does not tell how to call it"),
    ],
)
def test_the_command_refuses(reward_check: Run, settings: dict[str, Any], code: int, says: str) -> None:
    result = reward_check("--json", **settings)
    assert result.exit_code == code, result.output
    assert says in json.loads(result.stdout)["error"]["message"]


def test_a_reward_that_fails_is_named_by_the_command(reward_check: Run, tmp_path: Path) -> None:
    (tmp_path / "mine_check.py").write_text(
        "def f(text):\n    return 1 / (len(text) - 2)\ndef g(text):\n    return None\n"
    )
    result = reward_check("--json", reward_functions=["mine_check:f"])
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "ZeroDivisionError"
    assert 'reward "f" raised on sample' in error["notes"][0]
    text = reward_check(reward_functions=["mine_check:f"]).output
    assert 'error: ZeroDivisionError above: reward "f" raised on sample ' in text
    assert "It is the reward's own code that failed." in text
    assert "not foreseen here" not in text
    result = reward_check("--json", reward_functions=["mine_check:g"])
    assert result.exit_code == 1
    assert 'reward "g" gave None for sample 0' in json.loads(result.stdout)["error"]["message"]


def test_the_listing_has_every_reward() -> None:
    from aligntune.cli.app import app
    from aligntune_core.rewards.catalogue import BUILT_IN

    result = CliRunner().invoke(app, ["reward", "list", "--json"])
    assert [row["name"] for row in json.loads(result.stdout)][: len(BUILT_IN)] == list(BUILT_IN)
    text = CliRunner().invoke(app, ["reward", "list"]).stdout
    assert all(name in text for name in BUILT_IN)
