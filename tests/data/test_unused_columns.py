"""Columns that nobody reads: said, or refused where something else would be learnt without them."""

from __future__ import annotations

from typing import Any

import pytest

from aligntune_core.errors import ConfigError, DataError

PAIR = {"prompt": "hi", "completion": "hello"}
TALK = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def test_an_unused_column_is_a_warning(prepare: Any) -> None:
    report = prepare([{**PAIR, "source": "x"}]).report
    assert "Not used: source." in report.saw
    assert "Not used: source." in report.warnings


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("images", ["a.jpg"], "pictures"),
        ("Video", "b.mp4", "pictures"),
        ("audio", {"path": "c.wav", "bytes": None}, "pictures"),
        ("weight", 0.5, "the loss would be on everything alike"),
        ("reasoning", "since", "the reasoning before the answer"),
        ("tool_calls", [{"name": "f"}], "calls of tools"),
        ("margin", 1.5, "distance"),
    ],
)
@pytest.mark.parametrize("row", [PAIR, TALK], ids=["pair", "messages"])
def test_one_that_changes_what_is_learnt_is_refused(
    prepare: Any, row: dict[str, Any], column: str, value: Any, reason: str
) -> None:
    with pytest.raises(DataError, match=f'column "{column}" would be left out, and .*{reason}'):
        prepare([{**row, column: value}])


def test_a_value_in_a_later_row_counts(prepare: Any) -> None:
    rows = [{**PAIR, "image": None} for _ in range(150)]
    prepare(rows)
    with pytest.raises(DataError, match='"image" would be left out'):
        prepare([*rows, {**PAIR, "image": "a.jpg"}])


@pytest.mark.parametrize("empty", [None, "", " ", [], {}, "[]"])
def test_an_empty_one_is_no_matter(prepare: Any, empty: Any) -> None:
    assert "Not used: images." in prepare([{**PAIR, "images": empty}]).report.saw


def test_what_settles_it(prepare: Any) -> None:
    rows = [{**PAIR, "images": ["a.jpg"], "id": 1}]
    report = prepare(rows, unused_columns="ignore").report
    assert report.warnings == ()
    assert "Not used: images, id." in report.saw
    assert "Not used: images, id." in prepare(rows, unused_columns=["images"]).report.warnings
    with pytest.raises(DataError, match="unused columns: images, id"):
        prepare(rows, unused_columns="error")
    with pytest.raises(ConfigError, match="unused_columns"):
        prepare(rows, unused_columns="maybe")


def test_a_label_counts_where_it_is_a_truth_value(prepare: Any) -> None:
    assert "Not used: label." in prepare([{"text": "a story", "label": "sports"}]).report.saw
    with pytest.raises(DataError, match="label"):
        prepare([{**PAIR, "label": False}])


def test_what_is_carried_for_rewards_is_no_picture_for_the_model(prepare: Any) -> None:
    rows = [{"prompt": "what is on it?", "images": ["a.jpg"], "answer": "a cup"}]
    with pytest.raises(DataError, match='"images" would be left out'):
        prepare(rows, "grpo")
    assert prepare(rows, "grpo", unused_columns="ignore").train[0]["answer"] == "a cup"


def test_a_column_that_is_named_is_left_out_though_the_format_reads_it(prepare: Any) -> None:
    tools = [{"type": "function", "function": {"name": "tide", "parameters": {}}}]
    rows = [{**PAIR, "functions": tools}]
    with pytest.raises(DataError, match="does not write the definition of tide"):
        prepare(rows)
    data = prepare(rows, unused_columns=["functions"])
    assert "tools" not in data.train.column_names
    assert "Not used: functions." in data.report.warnings
    with pytest.raises(DataError, match="no column for prompt"):
        prepare(rows, unused_columns=["prompt"])


@pytest.mark.parametrize("column", ["tools", "images"])
def test_rows_to_generate_for_have_no_tools_and_pictures(prepare: Any, column: str) -> None:
    """The libraries render prompts without a row's own tools, and take pictures from a column of that name."""
    rows = [{"prompt": "what is it?", column: [{"name": "tide"}], "answer": "a cup"}]
    with pytest.raises(DataError, match=f'"{column}" would be left out'):
        prepare(rows, "grpo")
    data = prepare(rows, "grpo", unused_columns=[column])
    assert set(data.train.column_names) == {"prompt", "answer"}
    nested = [{"input": {"messages": [{"role": "user", "content": "hi"}], column: [{"name": "tide"}]}}]
    with pytest.raises(DataError, match=f'"input.{column}" would be left out'):
        prepare(nested, "grpo")


def test_held_out_rows_are_asked_too(prepare: Any) -> None:
    with pytest.raises(DataError, match=r"held out.*images"):
        prepare([PAIR], eval_dataset=[{**PAIR, "images": ["a.jpg"]}])


# --- keys of messages ------------------------------------------------------------------------------------------------


def test_keys_of_messages_that_nobody_reads_are_said(prepare: Any) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "hi", "mood": "sad", "id": 3}, TALK["messages"][1]]},
        TALK,
    ]
    assert "Not used of messages: mood." in prepare(rows).report.warnings
    assert "Not used of messages: mood." in prepare(rows, streaming=True, max_steps=1).report.warnings
    assert prepare(rows, unused_columns="ignore").report.warnings == ()
    with pytest.raises(DataError, match="unused keys of messages: mood"):
        prepare(rows, unused_columns="error")
