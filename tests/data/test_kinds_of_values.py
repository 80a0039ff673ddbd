"""What a column holds is judged by most of its rows; messages may be JSON text, and of two schemas in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.data import BadRows

ASK = {"role": "user", "content": "hi"}
SAY = {"role": "assistant", "content": "hello"}
NO = {"role": "assistant", "content": "no"}
HH = {"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: no"}
LISTS = {"chosen": [ASK, SAY], "rejected": [ASK, NO]}
WANTED = {"prompt": [ASK], "chosen": [SAY], "rejected": [NO]}


@pytest.mark.parametrize(
    ("bad", "good", "algorithm", "column", "name"),
    [
        ({"chosen": "junk", "rejected": "b"}, [HH, HH], "dpo", "chosen", "hh-rlhf"),
        ({"chosen": 5, "rejected": "b"}, [HH], "dpo", "chosen", "hh-rlhf"),
        ({"chosen": "junk", "rejected": "b"}, [LISTS], "dpo", "chosen", "chosen/rejected (messages)"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, [{"prompt": "hi", **LISTS}], "dpo", "prompt", ""),
        ({"text": "x"}, [{"text": [ASK, SAY]}], "sft", "text", "messages"),
        ({"messages": 3}, [{"messages": [ASK, SAY]}], "sft", "messages", "messages"),
    ],
)
def test_a_bad_first_row_decides_nothing_and_is_the_one_that_is_named(
    prepare: Any, bad: dict[str, Any], good: list[dict[str, Any]], algorithm: str, column: str, name: str
) -> None:
    with pytest.raises(BadRows) as caught:
        prepare([bad, *good], algorithm)
    assert [(row.place, row.column) for row in caught.value.rows] == [("row 0", column)]
    data = prepare([bad, *good], algorithm, on_bad_rows="drop")
    assert (len(data.train), data.report.rows_dropped) == (len(good), 1)
    assert name in data.report.format
    assert data.train[0] == (WANTED if algorithm == "dpo" else {"prompt": [ASK], "completion": [SAY]})


def test_most_rows_decide_and_streams_too(prepare: Any) -> None:
    junk = [{"chosen": "junk", "rejected": "b"}] * 30
    for keywords in ({}, {"streaming": True, "max_steps": 1}):
        data = prepare(junk + [HH] * 40, "dpo", on_bad_rows="drop", **keywords)
        assert next(iter(data.train)) == WANTED
    # A dialogue quoted in one text of many makes no dialogues of the others.
    rows = [{"prompt": HH["chosen"], "chosen": "a", "rejected": "b"}]
    rows += [{"prompt": "hi", "chosen": "a", "rejected": "b"}] * 3
    assert prepare(rows, "dpo").train[0]["prompt"] == [{"role": "user", "content": HH["chosen"]}]


@pytest.mark.parametrize(
    ("row", "algorithm"),
    [
        ({"prompt": [ASK], "completion": [SAY]}, "sft"),
        ({"question": "hi", "answer": [SAY]}, "sft"),
        ({"text": [ASK, SAY]}, "sft"),
        ({"chosen": [ASK, SAY], "rejected": [ASK, NO]}, "dpo"),
        ({"prompt": "hi", "chosen": [ASK, SAY], "rejected": [ASK, NO]}, "dpo"),
        ({"prompt": [ASK], "chosen": [SAY], "rejected": [NO]}, "dpo"),
        ({"prompt": [ASK]}, "grpo"),
        ({"chosen": [{"from": "human", "value": "hi"}, SAY], "rejected": [ASK, NO]}, "dpo"),
    ],
)
def test_message_lists_as_json_text_in_every_role(
    prepare: Any, tmp_path: Path, row: dict[str, Any], algorithm: str
) -> None:
    import csv

    written = {k: value if isinstance(value, str) else json.dumps(value) for k, value in row.items()}
    with (tmp_path / "rows.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(written))
        writer.writeheader()
        writer.writerow(written)
    as_lists, as_texts = prepare([row], algorithm), prepare(str(tmp_path / "rows.csv"), algorithm)
    wanted = {name: as_lists.train[0][name] for name in as_lists.report.layout}
    assert {name: as_texts.train[0][name] for name in as_lists.report.layout} == wanted
    assert all(isinstance(value, list) and "[{" not in str(value[0]["content"]) for value in wanted.values())
    assert as_texts.report.format == as_lists.report.format


@pytest.mark.parametrize(
    "text", ["[1, 2]", "[see note] hi", '[{"a": 1}]', '[{"role": "user", ', '["x"]', "[]"]
)
def test_text_that_merely_starts_with_a_bracket_stays_text(prepare: Any, text: str) -> None:
    row = prepare([{"prompt": text, "completion": text}]).train[0]
    assert (row["prompt"][0]["content"], row["completion"][0]["content"]) == (text, text)
    assert prepare([{"text": text + " more"}]).train[0] == {"text": text + " more"}


def test_messages_of_two_schemas_in_one_table(prepare: Any) -> None:
    import datasets

    openai = {"messages": [ASK, SAY]}
    sharegpt = {"messages": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
    for rows, name in (([openai, sharegpt], "messages"), ([sharegpt, openai], "sharegpt")):
        table = datasets.Dataset.from_list(rows)
        assert set(table[0]["messages"][0]) == {"role", "content", "from", "value"}
        data = prepare(table)
        assert data.train[0] == data.train[1] == {"prompt": [ASK], "completion": [SAY]}
        assert data.report.format == name
    lists = {side: [{**message, "from": None} for message in LISTS[side]] for side in ("chosen", "rejected")}
    assert prepare([{"prompt": "hi", **lists}], "dpo").train[0] == WANTED
    turned = [{"role": None, "from": "human", "value": "hi"}, {"from": "gpt", "content": None, "value": "no"}]
    assert prepare([{"prompt": "hi", **lists, "rejected": turned}], "dpo").train[0] == WANTED


def test_values_of_numpy_are_read_as_pythons_own(prepare: Any) -> None:
    numpy = pytest.importorskip("numpy")
    talk = numpy.array([ASK, SAY], dtype=object)
    row = {"messages": talk, "score": numpy.float32(1)}
    assert prepare([row]).train[0] == {"prompt": [ASK], "completion": [SAY]}
    grpo = prepare([{"prompt": "hi", "answer": numpy.array([1, 2]), "score": numpy.int64(3)}], "grpo").train[
        0
    ]
    assert (grpo["answer"], grpo["score"]) == ([1, 2], 3)
