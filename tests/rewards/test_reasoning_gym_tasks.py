"""Rows and scores of reasoning-gym."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aligntune_core.config.schema.sections import RewardsConfig
from aligntune_core.data import reasoning_gym_rows
from aligntune_core.errors import ConfigError, DataError
from aligntune_core.rewards import build_rewards
from aligntune_core.rewards.builtin.reasoning_gym import reasoning_gym

reference_library = pytest.importorskip("reasoning_gym")


def test_rows_are_the_librarys_own() -> None:
    rows = reasoning_gym_rows("chain_sum", 5, 7, min_terms=2, max_terms=3)
    theirs = reference_library.create_dataset("chain_sum", size=5, seed=7, min_terms=2, max_terms=3)
    assert [(r["prompt"], r["answer"]) for r in rows] == [(e["question"], e["answer"]) for e in theirs]
    assert rows == reasoning_gym_rows("reasoning_gym/chain_sum", 5, 7, max_terms=3, min_terms=2)
    assert rows != reasoning_gym_rows("chain_sum", 5, 8, min_terms=2, max_terms=3)
    assert reasoning_gym_rows("reasoning_gym/chain_sum?min_terms=2&max_terms=3", 5, 7) == rows


def test_rows_survive_json_and_arrow() -> None:
    from datasets import Dataset

    rows = reasoning_gym_rows("propositional_logic", 3, 1)
    assert json.loads(json.dumps(rows)) == rows
    assert list(Dataset.from_list(rows)) == rows


# Tasks whose entries do not survive a table, whose scorers parse, give partial scores, or have many right answers.
@pytest.mark.parametrize("task", ["chain_sum", "rearc", "countdown", "sudoku"])
def test_scores_are_the_librarys_own(task: str) -> None:
    rows = reasoning_gym_rows(task, 2, 3)
    theirs = reference_library.create_dataset(task, size=2, seed=3)
    for row, entry in zip(rows, theirs, strict=True):
        for answer in (entry["answer"], "nonsense", "", "1 2 3"):
            said = f"<think>Is it <answer>5</answer>?</think>\n<answer>\n{answer}\n</answer>"
            expected = float(theirs.score_answer(answer=answer, entry=entry))
            assert reasoning_gym(said, row["reasoning_gym"]) >= expected
        assert reasoning_gym(str(entry["answer"]), row["reasoning_gym"]) == 1.0
        assert reasoning_gym("<answer>nonsense</answer>", row["reasoning_gym"]) < 1.0


def test_an_answer_that_the_tasks_scorer_cannot_read_is_wrong_not_an_error() -> None:
    [row] = reasoning_gym_rows("prime_factorization", 1, 0)
    dataset = reference_library.create_dataset("prime_factorization", size=1, seed=0)
    with pytest.raises(ValueError, match="invalid literal"):
        dataset.score_answer(answer="nonsense", entry=dataset[0])
    assert reasoning_gym("nonsense", row["reasoning_gym"]) == 0.0


def test_the_reward_scores_a_batch_of_rows() -> None:
    rows = reasoning_gym_rows("chain_sum", 3, 0)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    said: list[Any] = [[{"role": "assistant", "content": f"<answer>{r['answer']}</answer>"}] for r in rows]
    said[1] = "no idea"
    found = build_rewards(RewardsConfig(functions=["reasoning_gym"]))
    assert found.score(columns["prompt"], said, columns).total == [1.0, 0.0, 1.0]


def test_rows_of_another_dataset_are_told_what_to_use() -> None:
    found = build_rewards(RewardsConfig(functions=["reasoning_gym"]))
    with pytest.raises(ValueError, match=r'needs reasoning_gym, .* Use a dataset "reasoning_gym/TASK"'):
        found.score(["q"], ["a"], {"answer": ["a"]})
    with pytest.raises(DataError, match="no recipe of a row") as caught:
        found.score(["q"], ["a"], {"reasoning_gym": ["x"]})
    assert "sample 0" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("task", "size", "params", "says"),
    [
        ("chain_sums", 1, {}, 'no task "chain_sums". Did you mean "chain_sum"'),
        ("chain_sum", 0, {}, "needs at least one row, not 0"),
        ("chain_sum", 1, {"min_term": 2}, "min_term"),
        ("chain_sum", 1, {"min_terms": 9, "max_terms": 2}, "refuses the settings"),
        ("chain_sum", 1, {"min_terms": object()}, "values that JSON holds"),
        ("composite", 1, {}, "Must specify at least one dataset"),
        ("chain_sum?min_terms", 1, {}, "NAME=VALUE"),
    ],
)
def test_what_cannot_be_made_is_refused(task: str, size: int, params: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reasoning_gym_rows(task, size, 0, **params)
    assert says in str(caught.value)


def test_nothing_is_printed_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    rows = reasoning_gym_rows("bf", 3, 7)  # a task that prints
    reasoning_gym("<answer>x</answer>", rows[0]["reasoning_gym"])
    assert capsys.readouterr().out == ""
