"""Names of columns: almost right ones are named with a mapping that works, capitals and blanks are overlooked."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.errors import DataError

ASK = {"role": "user", "content": "hi"}
TALK = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
PAIR = {"prompt": [ASK], "completion": [{"role": "assistant", "content": "hello"}]}


@pytest.mark.parametrize(
    ("row", "algorithm", "mapping"),
    [
        ({"mesages": TALK}, "sft", {"mesages": "messages"}),
        ({"convesations": TALK, "id": 1}, "sft", {"convesations": "messages"}),
        ({"dialog": TALK}, "sft", {"dialog": "messages"}),
        ({"dialog": TALK, "source": "web"}, "sft", {"dialog": "messages"}),
        ({"txt": "x"}, "sft", {"txt": "text"}),
        ({"", "txt"}, "sft", {"txt": "text"}),
        ({"promt": "hi", "completion": "hello"}, "sft", {"completion": "completion", "promt": "prompt"}),
        ({"inst": "hi", "out": "hello"}, "sft", {"inst": "prompt", "out": "completion"}),
        ({"user_question": "hi", "model_answer": "hello"}, "sft",
         {"user_question": "prompt", "model_answer": "completion"}),
        ({"prompt": "hi", "best_chosen": "a", "worst_rejected": "b"}, "dpo",
         {"prompt": "prompt", "best_chosen": "chosen", "worst_rejected": "rejected"}),
        ({"instruction": "hi", "best_chosen": "a", "worst_rejected": "b"}, "dpo",
         {"instruction": "prompt", "best_chosen": "chosen", "worst_rejected": "rejected"}),
        ({"chosn": [ASK, TALK[1]], "rejcted": [ASK, {"from": "gpt", "value": "b"}]}, "dpo",
         {"chosn": "chosen", "rejcted": "rejected"}),
        ({"dialog": TALK}, "grpo", {"dialog": "messages"}),
    ],
)  # fmt: skip
def test_the_nearest_is_said_with_a_mapping_that_works(
    prepare: Any, row: Any, algorithm: str, mapping: dict[str, str]
) -> None:
    row = dict.fromkeys(row, "x") if isinstance(row, set) else row
    with pytest.raises(DataError) as caught:
        prepare([row], algorithm)
    found = re.search(r"Nearest: .* Try column_mapping=(\{.*\})\.", str(caught.value))
    assert found, caught.value
    assert ast.literal_eval(found[1]) == mapping
    assert len(prepare([row], algorithm, column_mapping=mapping).train) == 1


def test_nothing_is_suggested_where_nothing_is_near(prepare: Any) -> None:
    with pytest.raises(DataError) as caught:
        prepare([{"foo": "a", "bar": "b"}])
    assert "Nearest" not in str(caught.value)


@pytest.mark.parametrize("header", ["Question,Answer", "question, answer", " QUESTION ,answer"])
def test_capitals_and_blanks_in_a_header(prepare: Any, tmp_path: Path, header: str) -> None:
    (tmp_path / "rows.csv").write_text(f"{header}\nhi,hello\n")
    data = prepare(str(tmp_path / "rows.csv"))
    assert data.train[0] == PAIR
    assert data.report.format == "question/answer"
    assert any("Capitals and blanks in the names of columns were overlooked" in s for s in data.report.saw)


def test_other_names_with_capitals(prepare: Any) -> None:
    assert prepare([{"Messages": TALK}]).train[0] == PAIR
    assert prepare([{"Text": "x"}]).train[0] == {"text": "x"}
    assert prepare([{"Instruction": "hi", "Output": "hello"}]).report.format == "alpaca"
    with_system = prepare([{"prompt": "hi", "completion": "hello", "System": "s"}]).train[0]
    assert with_system["prompt"] == [{"role": "system", "content": "s"}, ASK]


def test_an_exact_name_wins_and_two_alike_are_not_chosen_between(prepare: Any) -> None:
    row = {"Question": "no", "question": "hi", "answer": "hello"}
    data = prepare([row])
    assert data.train[0] == PAIR
    assert not any("overlooked" in sentence for sentence in data.report.saw)
    assert prepare([{"Prompt": "no", "question": "hi", "Answer": "no", "output": "hello"}]).train[0] == PAIR
    with pytest.raises(DataError, match='"Completion" looks like the answer to "text"'):
        prepare([{"text": "x", "Prompt": "no", "Completion": "no"}])
    with pytest.raises(DataError, match="no column for prompt"):
        prepare([{"QUESTION": "a", "Question": "b", "answer": "c"}])


def test_an_index_column_is_called_one(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(",question,answer\n0,hi,hello\n")
    assert 'Not used: "" (a column without a name).' in prepare(str(path)).report.saw
    online = prepare(str(path), "grpo")
    assert online.train.column_names == ["prompt", "question", "answer"]
    path.write_text("Unnamed: 0,question,answer\n0,hi,hello\n")
    assert 'Not used: "Unnamed: 0".' in prepare(str(path)).report.saw
    path.write_text(",foo\n0,hi\n")
    with pytest.raises(DataError, match=r'Found: "" \(a column without a name\), foo\.'):
        prepare(str(path))


def test_several_absent_columns_of_a_mapping_are_said_one_by_one(prepare: Any) -> None:
    with pytest.raises(DataError) as caught:
        prepare([{"Q": "hi", "A": "hello"}], column_mapping={"q": "prompt", "a": "completion"})
    wanted = 'has no column "q" (did you mean "Q"?) and no column "a" (did you mean "A"?). Its columns: Q, A.'
    assert str(caught.value).endswith(wanted)
