"""The rows that the demo ships: enough, different, short, in style, and nothing held out is trained on."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from aligntune.demo import dataset

INSTRUCTIONS = (dataset.INSTRUCTIONS, dataset.INSTRUCTIONS_HELD_OUT)
PREFERENCES = (dataset.PREFERENCES, dataset.PREFERENCES_HELD_OUT)
FILES = (*INSTRUCTIONS, *PREFERENCES)


def answers(path: Path) -> list[str]:
    """The good answer of each row."""
    return [row.get("completion") or row["chosen"] for row in dataset.read(path)]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def test_there_are_enough_rows() -> None:
    assert [len(dataset.read(path)) for path in FILES] == [224, 24, 224, 24]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_columns_are_canonical_texts(path: Path) -> None:
    columns = {"prompt", "completion"} if path in INSTRUCTIONS else {"prompt", "chosen", "rejected"}
    for row in dataset.read(path):
        assert set(row) == columns
        assert all(value == value.strip() and value for value in row.values())


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_rows_are_short(path: Path) -> None:
    for row in dataset.read(path):
        assert len(words(row["prompt"])) <= 16, row
        assert all(len(words(value)) <= 48 for value in row.values()), row


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_good_answers_are_in_style_and_rejected_ones_are_not(path: Path) -> None:
    for answer in answers(path):
        assert dataset.in_style(answer), answer
        for line, start in zip(answer.split("\n")[:3], dataset.STARTS, strict=False):
            assert re.fullmatch(r"[A-Z0-9].*[.!?]", line.removeprefix(start)), line
    for row in dataset.read(path):
        assert not dataset.in_style(row.get("rejected", ""))


def test_no_prompt_and_no_line_of_an_answer_occurs_twice() -> None:
    prompts = [row["prompt"].lower() for path in FILES for row in dataset.read(path)]
    assert len(prompts) == len(set(prompts))
    lines = [line for path in FILES for answer in answers(path) for line in answer.split("\n")[:3]]
    assert len(lines) == len(set(lines))
    rejected = [row["rejected"] for path in PREFERENCES for row in dataset.read(path)]
    assert len(rejected) == len(set(rejected))


def test_rows_are_no_template_filled_in() -> None:
    """Hardly any two answers share most of their words."""
    bags = [frozenset(words(answer)) for path in FILES for answer in answers(path)]
    close = sum(len(a & b) / len(a | b) > 0.55 for a, b in combinations(bags, 2))
    assert close <= len(bags) // 50, close


def test_prompts_are_varied() -> None:
    prompts = [words(row["prompt"]) for path in FILES for row in dataset.read(path)]
    starts = {tuple(prompt[:2]) for prompt in prompts}
    assert len(starts) > 50
    content = {word for prompt in prompts for word in prompt if len(word) > 3}
    assert len(content) > 400


@pytest.mark.parametrize("path", PREFERENCES, ids=lambda p: p.name)
def test_rejected_answers_are_curt_or_rambling(path: Path) -> None:
    lengths = [len(words(row["rejected"])) for row in dataset.read(path)]
    assert sum(n <= 12 for n in lengths) > len(lengths) / 4
    assert sum(n >= 24 for n in lengths) > len(lengths) / 3


def test_the_licence_is_stated_beside_the_rows() -> None:
    text = (dataset.FOLDER / "README.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in text
    for path in FILES:
        assert re.search(rf"`{re.escape(path.name)}` \| {len(dataset.read(path))} \|", text)


def test_questions_are_held_out() -> None:
    trained_on = {
        row["prompt"] for path in (dataset.INSTRUCTIONS, dataset.PREFERENCES) for row in dataset.read(path)
    }
    assert len(dataset.questions(3)) == 3
    assert not trained_on & set(dataset.questions(24))
