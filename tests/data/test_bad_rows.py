"""Rows that cannot be used: each reason, where it is named, and both ways of dealing with them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.data import BadRows
from aligntune_core.errors import DataError
from aligntune_core.types import BadRow

ASK = {"role": "user", "content": "hi"}
SAY = {"role": "assistant", "content": "hello"}
GOOD = {"prompt": "say yes", "completion": "yes"}
LONG = "one two three four five six seven eight nine ten " * 5

SFT = [
    ({"prompt": None, "completion": "c"}, "prompt", "missing (None)"),
    ({"completion": "c"}, "prompt", "missing (None)"),
    ({"prompt": "p", "completion": ""}, "completion", "empty"),
    ({"prompt": "p", "completion": " \n "}, "completion", "only white space"),
    ({"prompt": 7, "completion": "c"}, "prompt", "7 is an int, text was expected"),
    ({"prompt": "p", "completion": {"a": 1}}, "completion", "is a dict"),
    ({"prompt": "p", "completion": "\ud800x"}, "completion", "surrogate"),
    ({"prompt": [], "completion": "c"}, "prompt", "no messages"),
    ({"prompt": [ASK, SAY], "completion": "c"}, "prompt", "ends with a message of the assistant"),
    ({"prompt": "p", "completion": [ASK]}, "completion", "starts with a message of the user"),
    ({"prompt": "p", "completion": [SAY, ASK]}, "completion", "last message is from the user"),
    ({"prompt": LONG, "completion": "c"}, "prompt", "nothing of the completion is left"),
    ("just text", "", "a str, not a dict"),
]
MESSAGES = [
    (None, "missing (None)"),
    ([], "no messages"),
    ("hello", "a list of messages was expected"),
    ("[1, ", "not valid"),
    ([ASK], "last message is from the user"),
    ([SAY], "no message comes before it"),
    ([ASK, {"role": "asistant", "content": "x"}], "unknown role 'asistant'. Did you mean \"assistant\"?"),
    ([ASK, {"role": "tool", "content": None}, SAY], "message 1 (tool): missing (None)"),
    ([ASK, {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}], "a tool without a name"),
    ([ASK, {"role": "assistant", "content": ""}], "message 1 (assistant): empty"),
    ([ASK, {"content": "x"}], "message 1 has no role"),
    ([ASK, "x"], "message 1 is a str"),
    ([ASK, {"role": "system", "content": "s"}, SAY], "a system message after the first"),
    ([{"role": "user", "content": [{"type": "image", "url": "x"}]}, SAY], "part of type 'image'"),
]
PREFERENCE = [
    ({"prompt": "p", "chosen": "a", "rejected": "a"}, "rejected", "equal"),
    ({"prompt": "p", "chosen": None, "rejected": "a"}, "chosen", "missing"),
    ({"prompt": LONG, "chosen": "a", "rejected": "b"}, "prompt", "nothing of the completion is left"),
    ({"prompt": "p", "chosen": LONG + "a", "rejected": LONG + "b"}, "rejected", "equal in the 40 tokens"),
]


def only(caught: Any) -> BadRow:
    found: tuple[BadRow, ...] = caught.value.rows
    (bad,) = found
    return bad


@pytest.mark.parametrize(("row", "column", "reason"), SFT)
def test_reasons_in_pairs(prepare: Any, row: Any, column: str, reason: str) -> None:
    with pytest.raises(BadRows) as caught:
        prepare([GOOD, row], max_seq_length=40)
    bad = only(caught)
    assert (bad.place, bad.column) == ("row 1", column)
    assert reason in bad.reason
    assert f"1 of 2 rows cannot be used\n  {bad}" in str(caught.value)
    data = prepare([GOOD, row, GOOD], max_seq_length=40, on_bad_rows="drop")
    assert (data.report.rows_given, data.report.rows_dropped, len(data.train)) == (3, 1, 2)
    assert data.report.bad_rows == (bad,)


@pytest.mark.parametrize(("value", "reason"), MESSAGES)
def test_reasons_in_conversations(prepare: Any, value: Any, reason: str) -> None:
    with pytest.raises(BadRows) as caught:
        prepare([{"messages": [ASK, SAY]}, {"messages": value}])
    bad = only(caught)
    assert (bad.place, bad.column) == ("row 1", "messages")
    assert reason in bad.reason


@pytest.mark.parametrize(("row", "column", "reason"), PREFERENCE)
def test_reasons_in_preferences(prepare: Any, row: Any, column: str, reason: str) -> None:
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    with pytest.raises(BadRows) as caught:
        prepare([good, row], "dpo", max_seq_length=40)
    bad = only(caught)
    assert (bad.place, bad.column) == ("row 1", column)
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": [ASK, SAY], "rejected": [ASK, SAY]}, "equal"),
        ({"chosen": [ASK, SAY], "rejected": [{"role": "user", "content": "no"}, SAY]}, "share no prompt"),
        (
            {"chosen": [ASK, SAY, ASK, SAY], "rejected": [ASK, SAY, {**ASK, "content": "x"}, SAY]},
            "part at a message",
        ),
    ],
)
def test_reasons_in_implicit_prompts(prepare: Any, row: Any, reason: str) -> None:
    good = {"chosen": [ASK, SAY], "rejected": [ASK, {**SAY, "content": "no"}]}
    with pytest.raises(BadRows) as caught:
        prepare([good, row], "dpo")
    assert reason in only(caught).reason


HH = "\n\nHuman: a\n\nAssistant:"


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (HH + " x", HH + " x ", "equal"),
        (HH + " x", "\n\nHuman: b\n\nAssistant: y", "share no"),
        (HH + " x", HH, "empty"),
        (HH + " x", HH + " y\n\nHuman: more", "ends with a turn of the human"),
        ("note" + HH + " x", "note" + HH + " y", "text before its first turn"),
        (HH + "\n\nAssistant: x", HH + "\n\nAssistant: y", "turn 1 (assistant) is empty"),
    ],
)
def test_reasons_in_dialogues(prepare: Any, chosen: str, rejected: str, reason: str) -> None:
    good = {"chosen": HH + " x", "rejected": HH + " y"}
    with pytest.raises(BadRows) as caught:
        prepare([good, {"chosen": chosen, "rejected": rejected}], "dpo")
    assert reason in only(caught).reason


def test_replies_that_are_equal_in_what_truncation_keeps(prepare: Any) -> None:
    row = {"prompt": "p", "chosen": "a " + LONG, "rejected": "b " + LONG}
    with pytest.raises(BadRows, match="equal in the 40 tokens"):
        prepare([row], "dpo", max_seq_length=40, truncation_mode="keep_end")
    assert len(prepare([row], "dpo", max_seq_length=40).train) == 1


def test_reward_training_leaves_out_rows_that_are_too_long(prepare: Any) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": LONG}
    with pytest.raises(BadRows, match=r'column "rejected": .* tokens, max_seq_length is 40'):
        prepare([row, {**row, "rejected": "b"}], "reward", max_seq_length=40)


def test_long_prompts_of_online_algorithms(prepare: Any) -> None:
    rows = [{"prompt": "p"}, {"prompt": LONG}]
    assert len(prepare(rows, "grpo").train) == 2
    with pytest.raises(BadRows, match="40 are allowed"):
        prepare(rows, "grpo", max_prompt_length=40)


def test_a_single_token_of_text_teaches_nothing(prepare: Any) -> None:
    with pytest.raises(BadRows, match="nothing to predict"):
        prepare([{"text": "two tokens"}, {"text": "<|im_end|>"}])


def test_only_the_first_ten_are_listed_and_all_are_counted(prepare: Any) -> None:
    with pytest.raises(BadRows) as caught:
        prepare([GOOD, *[{"prompt": "p", "completion": ""}] * 25])
    text = str(caught.value)
    assert "25 of 26 rows" in text
    assert text.count("\n  row ") == 10
    assert "... and 15 more" in text
    assert "on_bad_rows" in text
    assert len(caught.value.rows) == 25


def test_no_row_left_is_an_error_even_when_dropping(prepare: Any) -> None:
    with pytest.raises(BadRows, match="No row is left"):
        prepare([{"prompt": "p", "completion": ""}] * 2, on_bad_rows="drop")


def test_rows_of_a_dataset_and_of_a_slice_keep_their_numbers(prepare: Any) -> None:
    import datasets

    rows = [GOOD] * 5 + [{"prompt": "p", "completion": ""}] + [GOOD] * 4
    with pytest.raises(BadRows) as caught:
        prepare(datasets.Dataset.from_list(rows), split="train[3:8]")
    assert only(caught).place == "row 5"


def test_dropped_rows_are_logged(prepare: Any, caplog: pytest.LogCaptureFixture) -> None:
    prepare([GOOD, {"prompt": "p", "completion": ""}], on_bad_rows="drop")
    assert "1 of 2 rows dropped" in caplog.text
    assert 'row 1: column "completion": empty' in caplog.text


def test_the_error_survives_a_pickle() -> None:
    error = BadRows("text", [BadRow("row 1", "c", "r")])
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.rows) == (BadRows, "text", error.rows)
    assert isinstance(again, DataError)


# --- files -----------------------------------------------------------------------------------------------------------

Lines = Callable[[Path, Any], Path]


def test_broken_lines_and_bytes_are_named_by_line(prepare: Any, lines: Lines, tmp_path: Path) -> None:
    path = lines(
        tmp_path / "rows.jsonl",
        [
            GOOD,
            '{"prompt": "a", ',
            b'{"prompt": "\xff", "completion": "c"}',
            "",
            "[1]",
            {"prompt": "p", "completion": 3},
        ],
    )
    with pytest.raises(BadRows) as caught:
        prepare(str(path))
    found = {bad.place: bad.reason for bad in caught.value.rows}
    assert list(found) == ["rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:5", "rows.jsonl:6"]
    assert found["rows.jsonl:2"].startswith("not valid JSON")
    assert found["rows.jsonl:3"].startswith("byte 0xff at position 13")
    assert "a list, not a JSON object" in found["rows.jsonl:5"]
    data = prepare(str(path), on_bad_rows="drop")
    assert (data.report.rows_given, data.report.rows_dropped, len(data.train)) == (5, 4, 1)


def test_csv_rows_are_named_by_line(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt,completion\np,"two\nlines"\nq,\nr,c,d\ns,\xe9\nt,c\n')
    with pytest.raises(BadRows) as caught:
        prepare(str(path))
    found = {bad.place: bad.reason for bad in caught.value.rows}
    assert list(found) == ["rows.csv:4", "rows.csv:5", "rows.csv:6"]
    assert found["rows.csv:4"] == "empty"
    assert found["rows.csv:5"] == "3 fields, but the header has 2"
    assert found["rows.csv:6"] == "byte 0xe9 is not UTF-8"
    assert prepare(str(path), on_bad_rows="drop").train[0]["completion"][0]["content"] == "two\nlines"


def test_json_array_rows_are_named_by_the_line_they_start_on(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([GOOD, {"prompt": "p", "completion": ""}, 3], indent=1))
    with pytest.raises(BadRows) as caught:
        prepare(str(path))
    assert [bad.place for bad in caught.value.rows] == ["rows.json:6", "rows.json:10"]
    path.write_text(json.dumps({"da[ta": [GOOD, {"prompt": "p", "completion": ""}]}, indent=1))
    with pytest.raises(BadRows) as caught:
        prepare(str(path))
    assert only(caught).place == "rows.json:7"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.jsonl", b"\n\n", "holds no rows"),
        ("a.json", b'[{"prompt": "a"}, {"prompt": }]', r"a.json:1: not valid JSON"),
        ("a.json", b'[{"prompt": "a"}\n {"prompt": "b"}]', r"a.json:2: not valid JSON: a comma"),
        ("a.json", b"[{}, \xff]", r"a.json:1: byte 0xff"),
        ("a.json", b'"text"', "neither a JSON array nor"),
        ("a.json", b'{"train": [{"a": 1}], "test": [{"a": 2}]}', "several lists"),
        ("a.csv", b"prompt,prompt\n1,2\n", "names prompt more than once"),
        ("a.csv", b"prompt;completion\n1;2\n", "the file seems to be separated by ';'"),
        ("a.csv", b'prompt,completion\na,"b\n', "unclosed quote"),
        ("a.jsonl", "{}".encode("utf-16"), "UTF-16"),
        ("a.parquet", b"PAR1 no table", "cannot be read as parquet"),
        ("a.arrow", b"no table", "cannot be read as arrow"),
        ("a.xlsx", b"x", "not a known kind of data file"),
    ],
)
def test_files_that_cannot_be_read(
    prepare: Any, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        prepare(str(tmp_path / name))


def test_a_file_of_which_nothing_can_be_read_lists_its_lines(
    prepare: Any, lines: Lines, tmp_path: Path
) -> None:
    path = lines(tmp_path / "a.jsonl", ["prompt;completion", "a;b"])
    with pytest.raises(BadRows, match=r"2 of 2 rows cannot be used\n  a.jsonl:1: not valid JSON"):
        prepare(str(path))
