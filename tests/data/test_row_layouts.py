"""Rows as people lay them out: which columns make a prompt, and where the replies stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.algorithms import find
from aligntune_core.data import BadRows
from aligntune_core.data.pieces import render
from aligntune_core.errors import DataError
from aligntune_core.testing.tiny import CHAT_TEMPLATE, make_tokenizer

ASK = {"role": "user", "content": "A river?"}
SAY = {"role": "assistant", "content": "The Elbe."}
NO = {"role": "assistant", "content": "No."}
HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello."}
SYSTEM = {"role": "system", "content": "Be kind."}
HUMAN = {"from": "human", "value": "A river?"}
GPT, BAD = {"from": "gpt", "value": "The Elbe."}, {"from": "gpt", "value": "No."}
PREFERRED = {"prompt": [ASK], "chosen": [SAY], "rejected": [NO]}


def problem(prepare: Any, row: Any, algorithm: str = "sft", **keywords: Any) -> str:
    """The one problem of the one row."""
    with pytest.raises(BadRows) as caught:
        prepare([row], algorithm, **keywords)
    (bad,) = caught.value.rows
    return str(bad)


# --- what a prompt is made of ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"instruction": "", "input": "A river?", "output": "o"}, "A river?"),
        ({"instruction": None, "input": "A river?", "output": "o"}, "A river?"),
        ({"instruction": " ", "input": "A river?", "output": "o"}, "A river?"),
        ({"input": "q", "context": "c", "completion": "o"}, "q\n\nc"),
        ({"instruction": "q", "input": "i", "context": "c", "output": "o"}, "q\n\ni\n\nc"),
        ({"context": "q", "response": "o"}, "q"),
        ({"question": "q", "context": None, "answer": "o"}, "q"),
        ({"instruction": "q", "input": float("nan"), "output": "o"}, "q"),
        ({"problem": "q", "solution": "o"}, "q"),
        ({"Problem": "q", "Solution": "o"}, "q"),
        ({"problem": "q", "answer": "3", "solution": "o"}, "q"),
        ({"question": "q", "options": ["x", "y"], "answer": "o"}, "q\n\nA. x\nB. y"),
        ({"question": "q", "choices": {"A": "x", "B": "y"}, "answer": "o"}, "q\n\nA. x\nB. y"),
        ({"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answer": "o"}, "q\n\n1. x\n2. y"),
        ({"question": "q", "options": [{"key": "A", "value": "x"}, {"key": "B", "value": "y"}], "answer": "o"},
         "q\n\nA. x\nB. y"),
        ({"question": "q", "options": '["x", "y"]', "answer": "o"}, "q\n\nA. x\nB. y"),
        ({"question": "q", "options": "['x', 'y']", "answer": "o"}, "q\n\nA. x\nB. y"),
        ({"question": "q", "options": ["A) x", "B) y"], "answer": "o"}, "q\n\nA) x\nB) y"),
        ({"question": "q", "options": [3, 4.5], "answer": "o"}, "q\n\nA. 3\nB. 4.5"),
        ({"question": "Is it xx or yy?", "options": ["xx", "yy"], "answer": "o"}, "Is it xx or yy?"),
        ({"question": "q", "options": None, "answer": "o"}, "q"),
    ],
)  # fmt: skip
def test_a_prompt_is_written_from_all_its_columns(prepare: Any, row: Any, prompt: str) -> None:
    full = {"question": "q", "options": ["x", "y"], "answer": "o"}
    rows = [row, full, full] if row.get("options", "") is None else [row]
    assert prepare(rows).train[0] == {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": "o"}],
    }


def test_problems_of_prompts(prepare: Any) -> None:
    row: dict[str, Any] = {"instruction": "", "input": "", "output": "o"}
    assert 'column "instruction": empty' in problem(prepare, row)
    assert 'column "question": empty' in problem(prepare, {"question": "", "context": "c", "answer": "o"})
    row = {"prompt": [ASK], "input": "more", "completion": "o"}
    assert 'column "input": the prompt is a list of messages' in problem(prepare, row)
    row = {"prompt": [ASK], "options": ["x", "y"], "completion": "o"}
    assert "does not hold these options" in problem(prepare, row)
    row = {"question": "q", "options": ["x", "y"], "answer": 1}
    assert 'column "answer": 1 is an int' in problem(prepare, row)
    good = {"question": "q", "options": ["x", "y"], "answer": "x"}
    rows = [good, good, {**good, "options": "z"}]
    with pytest.raises(BadRows, match="no list of options"):
        prepare(rows)


@pytest.mark.parametrize(
    "names", [("A", "B", "C"), ("option_a", "option_b"), ("choice1", "choice2"), ("opa", "opb")]
)
def test_options_in_a_column_each_are_asked_for(prepare: Any, names: tuple[str, ...]) -> None:
    row = {"question": "Which colour?", "answer": "B", **{name: f"hue {name}" for name in names}}
    for algorithm in ("sft", "grpo"):
        with pytest.raises(DataError, match="look like the options"):
            prepare([row], algorithm)
        prepare([row], algorithm, unused_columns=list(names))
        prepare([{**row, "question": " ".join(f"hue {name}" for name in names)}], algorithm)


@pytest.mark.parametrize(
    "beside", [{"a": "x", "b": "y"}, {"A": "x"}, {"op": "x"}, {"choice1": None, "choice2": None}]
)
def test_columns_that_are_no_options(prepare: Any, beside: dict[str, Any]) -> None:
    assert prepare([{"question": "q", "answer": "o", **beside}]).report.format == "question/answer"


def test_two_system_messages_contradict_each_other(prepare: Any) -> None:
    row = {"system": "Be rude.", "messages": [SYSTEM, ASK, SAY]}
    assert 'column "system": another system message' in problem(prepare, row)
    assert prepare([{**row, "system": "Be kind. "}]).train[0]["prompt"] == [SYSTEM, ASK]


@pytest.mark.parametrize(
    "history",
    [
        [["Hi", "Hello."]],
        [HI, HELLO],
        [{"human": "Hi", "assistant": "Hello."}],
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}],
        json.dumps([["Hi", "Hello."]]),
    ],
)
def test_history_comes_first(prepare: Any, history: Any) -> None:
    turns = [SYSTEM, HI, HELLO, ASK]
    beside = {"history": history, "system": "Be kind."}
    assert prepare([{"instruction": "A river?", "input": "", "output": "The Elbe.", **beside}]).train[0] == {
        "prompt": turns,
        "completion": [SAY],
    }
    row = {"prompt": "A river?", "chosen": "The Elbe.", "rejected": "No.", **beside}
    assert prepare([row], "dpo").train[0] == {**PREFERRED, "prompt": turns}
    assert [made["prompt"] for made in prepare([row], "kto").train] == [turns, turns]
    assert (
        prepare([{"prompt": "A river?", "completion": "x", "label": True, **beside}], "kto").train[0][
            "prompt"
        ]
        == turns
    )
    assert prepare([{"prompt": "A river?", **beside}], "grpo").train[0]["prompt"] == turns
    messages = {"prompt": [SYSTEM, ASK], "completion": [SAY], "history": history}
    assert prepare([messages]).train[0]["prompt"] == turns


@pytest.mark.parametrize("history", [None, [], "", "[]"])
def test_no_history_is_none(prepare: Any, history: Any) -> None:
    row = {"instruction": "A river?", "output": "The Elbe.", "history": history}
    full = {"instruction": "A river?", "output": "The Elbe.", "history": [["Hi", "Hello."]]}
    assert prepare([row, row if history in ("", "[]") else full]).train[0]["prompt"] == [ASK]


def test_history_that_cannot_come_first(prepare: Any) -> None:
    row = {"prompt": "A river?", "completion": "x", "history": [HI]}
    assert 'column "history": ends with a message of the user' in problem(prepare, row)
    assert "no list of two texts" in problem(prepare, {**row, "history": [["a", "b", "c"]]})
    row = {"prompt": [SYSTEM, ASK], "completion": "x", "history": [SYSTEM, HI, HELLO]}
    assert "has a system message, and so has the prompt" in problem(prepare, row)


# --- preference rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"conversations": [HUMAN], "chosen": GPT, "rejected": BAD}, "messages/chosen/rejected"),
        ({"conversations": [HUMAN], "chosen": [GPT], "rejected": [BAD]}, "messages/chosen/rejected"),
        ({"conversations": [HUMAN], "chosen": "The Elbe.", "rejected": "No."}, "messages/chosen/rejected"),
        ({"messages": [ASK], "chosen": json.dumps(SAY), "rejected": json.dumps(NO)}, "messages/chosen/rejected"),
        ({"messages": [ASK, SAY], "chosen": "The Elbe.", "rejected": "No."}, "messages/chosen/rejected"),
        ({"messages": [ASK, SAY], "chosen": [ASK, SAY], "rejected": [ASK, NO]}, "messages/chosen/rejected"),
        ({"messages": [ASK, SAY], "rejected_response": "No."}, "messages/rejected"),
        ({"messages": [ASK, SAY], "rejected_response": [NO]}, "messages/rejected"),
        ({"messages": [ASK, SAY], "rejected_messages": [ASK, NO]}, "messages/rejected"),
        ({"prompt": "A river?", "chosen_response": "The Elbe.", "rejected_response": "No."}, "prompt/chosen/rejected"),
        ({"question": "A river?", "response_chosen": "The Elbe.", "response_rejected": "No.", "history": []},
         "prompt/chosen/rejected"),
        ({"prompt": ASK, "chosen": SAY, "rejected": NO}, "prompt/chosen/rejected"),
        ({"query": "A river?", "response": "The Elbe.", "rejected_response": "No."}, "prompt/completion/rejected"),
        ({"prompt": [ASK], "completion": [SAY], "rejected": [NO]}, "prompt/completion/rejected"),
        ({"input": {"messages": [ASK]}, "preferred_output": [SAY], "non_preferred_output": [NO]},
         "messages/chosen/rejected"),
        ({"input": json.dumps({"messages": [ASK]}), "preferred_output": [SAY], "non_preferred_output": [NO]},
         "messages/chosen/rejected"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", [False, True])
def test_preference_rows_of_peers(prepare: Any, row: Any, name: str, table: bool) -> None:
    import datasets

    data = prepare(datasets.Dataset.from_list([row]) if table else [row], "dpo")
    assert data.train[0] == PREFERRED
    assert data.report.format == name
    assert prepare([row], "kto").train[1] == {"prompt": [ASK], "completion": [NO], "label": False}


def test_system_messages_of_preference_rows(prepare: Any) -> None:
    rows = [
        {"system": "Be kind.", "conversations": [HUMAN], "chosen": GPT, "rejected": BAD},
        {"conversations": [{"from": "system", "value": "Be kind."}, HUMAN], "chosen": GPT, "rejected": BAD},
    ]
    ms_swift = {"messages": [SYSTEM, ASK, SAY], "rejected_messages": [SYSTEM, ASK, NO]}
    for source in ([rows[0]], [rows[1]], [ms_swift]):
        assert prepare(source, "dpo").train[0] == {**PREFERRED, "prompt": [SYSTEM, ASK]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"conversations": [HUMAN, BAD], "chosen": GPT, "rejected": BAD}, "not the chosen reply"),
        (
            {"messages": [HI, HELLO], "chosen": [ASK, SAY], "rejected": [ASK, NO]},
            "neither chosen nor rejected",
        ),
        ({"messages": [ASK, SAY], "rejected_response": "The Elbe."}, "equal"),
        ({"messages": [ASK], "rejected_response": "No."}, "not from the assistant"),
        ({"messages": [ASK, SAY], "rejected_messages": [HI, NO]}, "share no prompt"),
        ({"conversations": [HUMAN], "chosen": HUMAN, "rejected": BAD}, "starts with a message of the user"),
    ],
)
def test_preference_rows_that_contradict_themselves(prepare: Any, row: Any, reason: str) -> None:
    assert reason in problem(prepare, row, "dpo")


def test_tools_inside_an_object_go_along(prepare: Any) -> None:
    tool = {"type": "function", "function": {"name": "tide", "parameters": {}}}
    row = {
        "input": {"messages": [ASK], "tools": [tool], "parallel_tool_calls": True},
        "preferred_output": [SAY],
        "non_preferred_output": [NO],
    }
    tokenizer = make_tokenizer("{% if tools %}{{ tools | tojson }}{% endif %}" + CHAT_TEMPLATE)
    data = prepare([row], "dpo", tokenizer=tokenizer)
    assert json.loads(data.train[0]["tools"]) == [tool]
    assert data.train[0] == {**PREFERRED, "tools": data.train[0]["tools"]}


@pytest.mark.parametrize("value", [True, "true", 1])
def test_labels_of_peers(prepare: Any, value: Any) -> None:
    row = {"conversations": [HUMAN, GPT], "kto_tag": value}
    assert prepare([row], "kto").train[0] == {"prompt": [ASK], "completion": [SAY], "label": True}
    with pytest.raises(DataError, match=r"kto_tag|label"):
        prepare([row])


# --- texts, and what stands beside them ------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["code", "Code", "summary", "output", "answer", "canonical_solution"])
def test_an_answer_beside_a_text_is_asked_for(prepare: Any, answer: str) -> None:
    row = {"text": "Double a number.", answer: "2 * x"}
    with pytest.raises(DataError, match="looks like the answer") as caught:
        prepare([row])
    mapping = {"text": "prompt", answer: "completion"}
    assert str(mapping) in str(caught.value)
    assert prepare([row], column_mapping=mapping).train[0]["completion"][0]["content"] == "2 * x"
    assert prepare([row], unused_columns=[answer]).train[0] == {"text": "Double a number."}


def test_a_prompt_beside_a_text_is_asked_for(prepare: Any) -> None:
    row = {"prompt": "Double a number.", "text": "2 * x"}
    with pytest.raises(DataError, match='"text" stands beside "prompt"') as caught:
        prepare([row])
    mapping = {"prompt": "prompt", "text": "completion"}
    assert str(mapping) in str(caught.value)
    assert prepare([row], column_mapping=mapping).train[0]["completion"][0]["content"] == "2 * x"
    assert prepare([row], unused_columns=["prompt"]).train[0] == {"text": "2 * x"}
    assert prepare([row], unused_columns="ignore").train[0] == {"text": "2 * x"}
    assert prepare([{**row, "text": "Double a number. 2 * x"}]).train[0] == {"text": "Double a number. 2 * x"}


def test_a_text_with_its_url_is_a_text(prepare: Any) -> None:
    assert prepare([{"text": "once", "url": "u", "id": 3, "title": "t"}]).train[0] == {"text": "once"}


@pytest.mark.parametrize("beside", [{"text": "NOTE"}, {"input_ids": [1, 2]}, {"completions": "NOTE"}])
def test_a_prompt_is_shown_and_not_what_is_carried_along(
    prepare: Any, configured: Any, chat_tokenizer: Any, beside: Any
) -> None:
    rows = [{"prompt": "A river?", **beside}]
    data = prepare(rows, "grpo")
    pieces = render(data.train[0], find("grpo"), chat_tokenizer, configured(rows, "grpo"))
    text = "".join(part for part, _ in pieces)
    assert "A river?" in text
    assert "NOTE" not in text
    assert not any(loss for _, loss in pieces)


@pytest.mark.parametrize("pack", [list, json.dumps])
def test_each_instance_of_an_instruction_is_a_row(prepare: Any, pack: Any) -> None:
    instances = [{"input": "rain", "output": "It rains."}, {"input": "", "output": "A verse."}]
    data = prepare([{"id": "t", "instruction": "Write.", "instances": pack(instances)}])
    assert [row["prompt"][0]["content"] for row in data.train] == ["Write.\n\nrain", "Write."]
    assert [row["completion"][0]["content"] for row in data.train] == ["It rains.", "A verse."]
    assert (data.report.format, data.report.rows_made) == ("self-instruct", 2)


def test_instances_that_cannot_be_used(prepare: Any) -> None:
    row = {"instruction": "Write.", "instances": [{"input": "rain", "output": "It.", "constraints": "short"}]}
    assert "instance 0 has constraints" in problem(prepare, row)
    assert "instance 0: empty" in problem(prepare, {**row, "instances": [{"input": "rain", "output": ""}]})
    assert "no list of instances" in problem(prepare, {**row, "instances": []})


@pytest.mark.parametrize(
    ("column", "value"),
    [("options", ["x", "y"]), ("history", [["a", "b"]]), ("context", "c"), ("tools", [{"name": "tide"}])],
)
def test_a_column_that_is_named_as_unused_plays_no_role(prepare: Any, column: str, value: Any) -> None:
    row = {"question": "A river?", "answer": "The Elbe.", column: value}
    data = prepare([row], unused_columns=[column])
    assert data.train[0] == {"prompt": [ASK], "completion": [SAY]}


# --- values inside objects, and lines that are no objects ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rows", "table", "text"])
def test_dotted_names_reach_into_objects(prepare: Any, kind: str) -> None:
    import datasets

    inner: Any = {"ground_truth": "4", "style": "rule"}
    row = {"prompt": "2+2?", "reward_model": json.dumps(inner) if kind == "text" else inner}
    rows = [row, {**row, "prompt": "1+3?"}]
    source = datasets.Dataset.from_list(rows) if kind == "table" else rows
    for mapping in ({"reward_model.ground_truth": "answer"}, {"answer": "reward_model.ground_truth"}):
        carried = prepare(source, "grpo", column_mapping=mapping).train[0]
        assert (carried["answer"], carried["prompt"]) == ("4", [{"role": "user", "content": "2+2?"}])
        assert set(carried) == {"prompt", "reward_model", "answer"}
    mapped = prepare(source, column_mapping={"reward_model.ground_truth": "completion"})
    assert mapped.train[1]["completion"] == [{"role": "assistant", "content": "4"}]
    assert any("reward_model.style" in sentence for sentence in mapped.report.saw)


def test_dotted_names_reach_into_lists_and_streams(
    prepare: Any, lines: Callable[..., Path], tmp_path: Path
) -> None:
    row = {"question": "A river?", "answers": {"text": ["The Elbe."], "start": [3]}}
    mapping = {"answers.text.0": "completion"}
    assert prepare([row], column_mapping=mapping).train[0]["completion"] == [SAY]
    path = lines(tmp_path / "rows.jsonl", [row] * 3)
    assert prepare(str(path), column_mapping=mapping).train[2]["completion"] == [SAY]
    streamed = prepare(str(path), column_mapping=mapping, streaming=True, max_steps=1).train
    assert next(iter(streamed))["completion"] == [SAY]
    with pytest.raises(DataError, match=r'no column "answers\.txt"'):
        prepare([row], column_mapping={"answers.txt": "completion"})


def test_an_object_is_opened_only_where_it_is_the_conversation(prepare: Any) -> None:
    talk = {"messages": [HI, HELLO]}
    row = {"question": "A river?", "answer": "The Elbe.", "data": talk}
    assert prepare([row]).train[0] == {"prompt": [ASK], "completion": [SAY]}
    assert prepare([{"custom_id": "1", "body": {"model": "m", **talk}}]).train[0] == {
        "prompt": [HI],
        "completion": [HELLO],
    }


def test_a_column_with_a_dot_in_its_name_is_a_column(prepare: Any) -> None:
    row = {"a.q": "A river?", "a.r": "The Elbe."}
    assert prepare([row], column_mapping={"a.q": "prompt", "a.r": "completion"}).train[0] == {
        "prompt": [ASK],
        "completion": [SAY],
    }


def test_lines_that_are_lists_of_messages(prepare: Any, lines: Callable[..., Path], tmp_path: Path) -> None:
    rows: Iterable[Any] = [[ASK, SAY], [HUMAN, GPT]]
    wanted = [{"prompt": [ASK], "completion": [SAY]}] * 2
    assert prepare(str(lines(tmp_path / "rows.jsonl", map(json.dumps, rows)))).train.to_list() == wanted
    (tmp_path / "rows.json").write_text(json.dumps(list(rows)))
    assert prepare(str(tmp_path / "rows.json")).train.to_list() == wanted
    assert prepare(list(rows)).train.to_list() == wanted
    assert prepare(str(lines(tmp_path / "one.jsonl", [json.dumps([ASK, SAY])]))).train.to_list() == wanted[:1]


# --- hints -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "absent"),
    [
        ({"question": "q", "schema": "s", "graph": "c"}, ["Nearest", "messages'"]),
        ({"context": "c", "question": "q", "answers": {"text": ["x"]}}, ["Nearest", "'text'"]),
        ({"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 1}, ["Nearest"]),
        ({"question_id": "q1", "body": "b", "answer": "c"}, ["'question_id'"]),
        ({"prompt_id": 3, "label": "c"}, ["'prompt_id'"]),
        ({"question": "q", "answer_type": "number"}, ["'answer_type'"]),
        ({"question": "q", "answers": [1, 2]}, ["'answers'"]),
        ({"instruction": "q", "cases": [{"x": 1}]}, ["'messages'", "Nearest"]),
        ({"mesages": "x"}, ["'messages'"]),
    ],
)
def test_no_mapping_is_suggested_that_does_not_fit(prepare: Any, row: Any, absent: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        prepare([row])
    for words in absent:
        assert words not in str(caught.value)
    assert "no column for" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "algorithm", "mapping"),
    [
        (
            {"question": "q", "schema": "s", "cypher": "c"},
            "sft",
            {"question": "prompt", "cypher": "completion"},
        ),
        ({"user": "q", "assistant": "a"}, "sft", {"user": "prompt", "assistant": "completion"}),
        (
            {"document": "d", "summary": "s", "id": "1"},
            "sft",
            {"document": "prompt", "summary": "completion"},
        ),
        (
            {"prompt": "d", "canonical_solution": "s"},
            "sft",
            {"prompt": "prompt", "canonical_solution": "completion"},
        ),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            "sft",
            {"prompt": "prompt", "chosen": "completion"},
        ),
    ],
)
def test_a_mapping_that_fits_is_suggested(
    prepare: Any, row: Any, algorithm: str, mapping: dict[str, str]
) -> None:
    with pytest.raises(DataError) as caught:
        prepare([row], algorithm)
    assert f"column_mapping={mapping}" in str(caught.value)
    assert "Nearest: ." not in str(caught.value)
    assert len(prepare([row], algorithm, column_mapping=mapping).train) == 1


# --- margins ---------------------------------------------------------------------------------------------------------

PAIR = {"prompt": "A river?", "chosen": "The Elbe.", "rejected": "No."}


@pytest.mark.parametrize("row", [PAIR, {"messages": [ASK, SAY], "rejected_response": "No."}])
def test_margins_go_along_to_reward_models(prepare: Any, row: Any) -> None:
    data = prepare([{**row, "margin": 2}, {**row, "margin": "0.5"}], "reward")
    assert data.train[0] == {**PREFERRED, "margin": 2.0}
    assert data.train["margin"] == [2.0, 0.5]
    assert prepare([row], "reward").train[0] == PREFERRED
    with pytest.raises(DataError, match="margin"):
        prepare([{**row, "margin": 2}], "dpo")


@pytest.mark.parametrize(
    ("margin", "reason"), [(None, "missing"), ("big", "no number"), (float("nan"), "no number")]
)
def test_margins_that_are_no_numbers(prepare: Any, margin: Any, reason: str) -> None:
    with pytest.raises(BadRows, match=reason):
        prepare([{**PAIR, "margin": 1.0}, {**PAIR, "margin": margin}], "reward")
    with pytest.raises(BadRows, match="missing"):
        prepare([{**PAIR, "margin": 1.0}], "reward", eval_dataset=[PAIR])
