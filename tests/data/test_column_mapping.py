"""``column_mapping`` in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from aligntune_core.errors import DataError

WANTED = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}


@pytest.mark.parametrize(
    ("row", "mapping"),
    [
        ({"q": "a", "r": "b"}, {"q": "prompt", "r": "completion"}),
        ({"q": "a", "r": "b"}, {"prompt": "q", "completion": "r"}),
        ({"q": "a", "r": "b"}, {"q": "instruction", "r": "response"}),
        ({"player": "a", "alien": "b"}, {"instruction": "player", "output": "alien"}),
        ({"question": "a", "answer": "b"}, {"question": "prompt", "answer": "response"}),
        ({"question": "a", "answer": "b"}, {"prompt": "question"}),
        (
            {"instruction": "a", "input": "", "output": "b", "text": "t"},
            {"instruction": "prompt", "output": "response"},
        ),
        (
            {"instruction": "a", "input": "", "output": "b", "text": "t"},
            {"instruction": "instruction", "output": "response"},
        ),
        ({"text": "a", "code": "b"}, {"text": "prompt", "code": "response"}),
        ({"prompt": "a", "completion": "b"}, {"prompt": "prompt", "completion": "completion"}),
        ({"messages": "x", "q": "a", "r": "b"}, {"q": "prompt", "r": "completion"}),
        ({"prompt": "x", "q": "a", "r": "b"}, {"q": "prompt", "r": "completion"}),
    ],
)
def test_the_columns_decide_the_direction(prepare: Any, row: dict[str, str], mapping: dict[str, str]) -> None:
    assert prepare([row], column_mapping=mapping).train[0] == WANTED


def test_context_role(prepare: Any) -> None:
    row = {"medical_question": "a", "medical_answer": "b", "patient": "p"}
    mapping = {"instruction": "medical_question", "output": "medical_answer", "input": "patient"}
    assert prepare([row], column_mapping=mapping).train[0]["prompt"][0]["content"] == "a\n\np"


def test_preference_roles_and_messages_in_a_text_role(prepare: Any) -> None:
    row = {"q": "a", "good": "x", "bad": "y"}
    data = prepare([row], "dpo", column_mapping={"q": "prompt", "good": "chosen", "bad": "rejected"})
    assert data.train[0]["rejected"][0]["content"] == "y"
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert prepare([{"messages": talk}], column_mapping={"messages": "text"}).train[0] == WANTED


@pytest.mark.parametrize("mapping", [{"prompt": "question"}, {"question": "prompt"}])
def test_both_readings_fit(prepare: Any, mapping: dict[str, str]) -> None:
    with pytest.raises(DataError, match="can be read both ways"):
        prepare([{"prompt": "a", "question": "b", "answer": "c"}], column_mapping=mapping)


def test_roles_decide_where_the_columns_do_not(prepare: Any) -> None:
    """Both names are columns, but only one direction names a role."""
    row = {"prompt": "old", "body": "a", "completion": "b"}
    assert prepare([row], column_mapping={"body": "prompt"}).train[0] == WANTED
    assert prepare([row], column_mapping={"prompt": "body"}).train[0] == WANTED


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"qestion": "prompt"}, r'no column "qestion"\. Did you mean "question"'),
        ({"question": "promt"}, r'role "promt", which does not exist. Did you mean "prompt"'),
        ({"question": "prompt", "answer": "instruction"}, 'both "question" and "answer" the role "prompt"'),
        ({"prompt": "question", "completion": "question"}, "one column for two roles"),
        ({"foo": "bar"}, "has no column"),
    ],
)
def test_mappings_that_cannot_be_used(prepare: Any, mapping: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare([{"question": "a", "answer": "b"}], column_mapping=mapping)


def test_reward_columns_may_be_given_any_name(prepare: Any) -> None:
    row = {"question": "a", "answer": "b"}
    for mapping in (
        {"question": "prompt", "answer": "reference"},
        {"prompt": "question", "reference": "answer"},
    ):
        got = prepare([row], "grpo", column_mapping=mapping).train[0]
        assert got["reference"] == got["answer"] == "b"
        assert got["prompt"] == WANTED["prompt"]


def test_a_role_mapped_to_itself_says_nothing_where_there_is_no_such_column(prepare: Any) -> None:
    start = "\n\nHuman: a\n\nAssistant:"
    row = {"chosen": start + " b", "rejected": start + " c"}
    same = {name: name for name in ("prompt", "chosen", "rejected")}
    assert prepare([row], "dpo", column_mapping=same).train[0]["chosen"] == WANTED["completion"]
