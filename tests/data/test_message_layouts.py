"""Messages as people write them: what the canonical conversation holds, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aligntune_core.data.conversations import message_keys, parsed, read_messages
from aligntune_core.data.formats.base import RowProblem

ASK = {"role": "user", "content": "Tide?"}
SAY = {"role": "assistant", "content": "High."}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"at": "Emden"}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "2.1"}


def read(*messages: Any) -> list[dict[str, Any]]:
    return read_messages(list(messages), "messages")


def refused(*messages: Any) -> str:
    with pytest.raises(RowProblem) as caught:
        read(*messages)
    return caught.value.reason


ARGUMENTS = '{"at": "Emden"}'


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "tide", "arguments": ARGUMENTS}}]},
        {"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])},
        {"role": "assistant", "content": None, "function_call": {"name": "tide", "arguments": ARGUMENTS}},
        {"role": "model", "content": "", "tool_calls": [{"name": "tide", "parameters": {"at": "Emden"}}]},
        {"from": "function_call", "value": '{"name": "tide", "arguments": {"at": "Emden"}}'},
        {"from": "function_call", "value": '[{"name": "tide", "arguments": {"at": "Emden"}}]'},
        {"from": "function_call", "value": json.dumps({"name": "tide", "arguments": ARGUMENTS})},
        {"from": "tool_call", "value": '<tool_call>\n{"name": "tide", "arguments": {"at": "Emden"}}\n</tool_call>'},
        {"role": "tool_call", "content": {"name": "tide", "arguments": {"at": "Emden", "unit": None}}},
        {"role": "assistant", "content": [{"type": "tool_call", "value": json.dumps(CALL["function"])}]},
    ],
)  # fmt: skip
def test_calls_of_tools_read_alike(message: Any) -> None:
    assert read(ASK, message, {"from": "observation", "value": "2.1"}, SAY) == [ASK, CALLING, RESULT, SAY]


@pytest.mark.parametrize("role", ["tool", "function", "observation", "ipython", "tool_response", "Tool"])
def test_results_of_tools(role: str) -> None:
    message = {"role": role, "content": {"height": 2.1}, "name": "tide", "tool_call_id": "c1"}
    assert read(ASK, CALLING, message, SAY)[2] == {
        "role": "tool",
        "content": '{"height": 2.1}',
        "name": "tide",
        "tool_call_id": "c1",
    }
    assert read(ASK, CALLING, {"role": role, "content": ""}, SAY)[2]["content"] == ""


def test_parallel_calls_are_one_turn_and_ids_stay() -> None:
    lines = '{"name": "a"}\n{"name": "b", "arguments": "{}"}'
    together = [{"type": "function", "function": {"name": name, "arguments": {}}} for name in "ab"]
    assert read(ASK, {"from": "function_call", "value": lines})[1]["tool_calls"] == together
    apart = [{"from": "tool_call", "value": f'{{"name": "{name}"}}'} for name in "ab"]
    assert read(ASK, *apart)[1:] == [{"role": "assistant", "content": "", "tool_calls": together}]
    after_words = read(ASK, {"from": "gpt", "value": "I look."}, apart[0])
    assert after_words[1:] == [{"role": "assistant", "content": "I look.", "tool_calls": together[:1]}]
    named = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", **CALL}]}
    assert read(ASK, named)[1]["tool_calls"][0]["id"] == "c1"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"from": "function_call", "value": "tide(Emden)"}, "no JSON of its name and arguments"),
        ({"from": "function_call", "value": "{}"}, "calls no tool"),
        ({"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}, "a tool without a name"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}, "not names with values"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}, "no JSON"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "from the user, but has the key 'tool_calls'"),
        ({"role": "assistant", "content": "x", "images": ["a.png"]}, "the key 'images'"),
        ({"role": "user", "content": "x", "audio": "a.wav"}, "the key 'audio'"),
        ({"role": "assistant", "content": "x", "mask": 1}, "the key 'mask'"),
        ({"role": "user", "content": "x", "reasoning_content": "y"}, "the key 'reasoning_content'"),
        ({"role": "assistant", "content": "x", "weight": 0.5}, "weight 0.5"),
        ({"role": "assistant", "content": "x", "loss": "some"}, "loss 'some'"),
        ({"role": "user", "content": "x", "train": True}, "only replies are learnt"),
        ({"role": "assistant", "content": "x", "reasoning": "a", "reasoning_content": "b"}, "that differ"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "part of type 'image_url'"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "part of type 'input_audio'"),
        ({"role": "user", "content": [{"type": "text", "words": "x"}]}, "its keys: 'words'"),
        ({"role": "tools", "content": "x"}, 'unknown role \'tools\'. Did you mean "tool"'),
    ],
)  # fmt: skip
def test_what_changes_what_is_learnt_is_refused_by_name(message: Any, reason: str) -> None:
    assert reason in refused(ASK, message, SAY)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("reasoning_content", "reasoning_content"),
        ("reasoning", "reasoning_content"),
        ("thinking", "thinking"),
    ],
)
def test_reasoning_stays_with_its_reply(key: str, name: str) -> None:
    assert read(ASK, {**SAY, key: "Moon."})[1] == {**SAY, name: "Moon."}
    assert read({**ASK, key: None}, {**SAY, key: ""}) == [ASK, SAY]


def test_reasoning_as_a_part() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "reasoning", "value": "Moon."},
        {"type": "text", "value": "High."},
    ]
    assert read(ASK, {"role": "assistant", "content": parts})[1] == {**SAY, "reasoning_content": "Moon."}
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Moon."}]},
        {"type": "text", "text": "High."},
    ]
    assert read(ASK, {"role": "assistant", "content": parts})[1] == {**SAY, "thinking": "Moon."}


@pytest.mark.parametrize(
    "off",
    [
        {"weight": 0},
        {"weight": 0.0},
        {"loss": False},
        {"train": False},
        {"training": "false"},
        {"loss_weight": 0.0},
        {"masked": True},
    ],
)
def test_replies_that_are_not_learnt(off: dict[str, Any]) -> None:
    (key, value) = next(iter(off.items()))
    on: Any = not value if isinstance(value, bool) else ("true" if isinstance(value, str) else 1)
    assert read(ASK, {**SAY, **off}, ASK, {**SAY, key: on})[1::2] == [
        {**SAY, "weight": 0},
        {**SAY, "weight": 1},
    ]
    assert read({**ASK, key: value if key != "masked" else True}, SAY) == [ASK, SAY]
    assert read({**ASK, key: None}, {**SAY, key: None}) == [ASK, SAY]


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
@pytest.mark.parametrize("key", ["text", "value", "content"])
def test_parts_of_text(kind: str, key: str) -> None:
    parts = [{"type": kind, key: "Ti"}, {"type": kind, key: "de?"}]
    assert read({"role": "user", "content": parts}, SAY) == [ASK, SAY]


@pytest.mark.parametrize(
    "value",
    [
        [{"human": "Tide?", "assistant": "High."}],
        [{"user": "Tide?", "assistant": "High."}],
        [{"question": "Tide?", "answer": "High."}],
        [{"prompt": "Tide?", "response": "High.", "id": 3}],
        [{"input": "Tide?", "output": "High."}],
        [["Tide?", "High."]],
        ["Tide?", "High."],
        [{"role": "user", "value": "Tide?"}, {"role": "assistant", "value": "High."}],
        [{"from": "human", "content": "Tide?"}, {"from": "gpt", "content": "High."}],
        [{"role": "user", "text": "Tide?"}, {"role": "assistant", "text": "High."}],
        {"role": ["user", "assistant"], "content": ["Tide?", "High."]},
        {"from": ["human", "gpt"], "value": ["Tide?", "High."], "weight": [None, None]},
        {"messages": [ASK, SAY], "tools": []},
        json.dumps({"messages": [ASK, SAY]}),
        json.dumps([["Tide?", "High."]]),
        json.dumps([{"human": "Tide?", "assistant": "High."}]),
        str([ASK, SAY]),
    ],
)
def test_turns_of_all_kinds(value: Any) -> None:
    assert read_messages(value, "messages") == [ASK, SAY]


def test_turns_with_more_than_two_texts() -> None:
    turn = {
        "system": "Be kind.",
        "instruction": "Tide?",
        "input": "Emden",
        "output": "High.",
        "output_with_loss": False,
    }
    assert read(turn, {"input": "And?", "output": "Low."}) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Tide?\n\nEmden"},
        {**SAY, "weight": 0},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "Low."},
    ]
    assert "has question and prompt" in refused({"question": "a", "prompt": "b", "answer": "c"})
    assert "turn 1 is a dict with the keys x" in refused({"question": "a", "answer": "c"}, {"x": 1})
    assert "turn 0 is no list of two texts" in refused(["a", "b", "c"])
    assert read({"user": None, "assistant": "Hello."}, {"user": "Tide?", "assistant": "High."})[0] == {
        "role": "assistant",
        "content": "Hello.",
    }


def test_keys_that_nobody_reads_are_named(prepare: Any) -> None:
    from aligntune_core.algorithms import find
    from aligntune_core.data.recognise import detect

    odd = {**SAY, "id": 1, "weight": 1, "mood": "calm", "citations": [], "rated": False}
    row = {"messages": [{**ASK, "timestamp": 3, "locale": "de"}, odd]}
    shape = detect(list(row), [row], find("sft"), "rows")
    assert sorted(message_keys(row, shape)) == ["locale", "mood"]
    row = {"messages": [{"human": "a", "assistant": "b", "mood": "calm"}]}
    assert message_keys(row, shape) == ["mood"]


def test_keys_that_nobody_reads_are_a_warning(prepare: Any) -> None:
    rows = [{"messages": [ASK, {**SAY, "mood": "calm", "id": 1}]}] * 2 + [{"messages": [ASK, SAY]}]
    report = prepare(rows).report
    assert report.warnings == ("Not used of messages: mood.",)
    assert prepare(rows, unused_columns="ignore").report.warnings == ()


def test_a_text_of_json_is_a_text_where_it_is_no_message() -> None:
    for text in ('{"role": "king", "content": "x"}', '{"a": 1}', '[{"a": 1}]', "[1]", '{"role": "user"}'):
        assert parsed(text) == text
    assert parsed(json.dumps(SAY)) == SAY


def test_a_printed_list_that_cannot_be_read_is_no_text(prepare: Any) -> None:
    """numpy prints no commas, so pandas' CSV of such a column is lost."""
    from aligntune_core.data import BadRows

    printed = f"[{ASK}\n {SAY}]"
    with pytest.raises(BadRows, match="as it is printed"):
        prepare([{"prompt": printed, "completion": "x"}])
    assert prepare([{"prompt": str([ASK]), "completion": "High."}]).train[0] == {
        "prompt": [ASK],
        "completion": [SAY],
    }
