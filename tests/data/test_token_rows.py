"""Rows that are tokens already: what is learnt of them, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aligntune_core.algorithms import find
from aligntune_core.data import BadRows
from aligntune_core.data.pieces import render
from aligntune_core.errors import DataError

IDS = [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("beside", "labels", "loss"),
    [
        ({}, IDS, "all"),
        ({"attention_mask": [1, 1, 1, 1]}, IDS, "all"),
        ({"labels": [-100, -100, 7, 8]}, [-100, -100, 7, 8], "completion"),
        ({"completion_mask": [0, 0, 1, 1]}, [-100, -100, 7, 8], "completion"),
        ({"assistant_masks": [0, 1, 0, 1]}, [-100, 6, -100, 8], "completion"),
        ({"completion_mask": [0, 1, 1, 1], "labels": [5, 6, -100, 8]}, [-100, 6, -100, 8], "completion"),
        ({"labels": json.dumps([-100, 6, 7, 8])}, [-100, 6, 7, 8], "completion"),
        ({"labels": None}, IDS, "completion"),
    ],
)
def test_the_loss_is_where_the_row_says(prepare: Any, beside: Any, labels: list[int], loss: str) -> None:
    data = prepare([{"input_ids": IDS, **beside}])
    assert data.train[0] == {"input_ids": IDS, "labels": labels}
    assert (data.report.loss, data.report.conversational) == (loss, False)


def test_padding_goes_and_the_tokens_win_over_their_text(prepare: Any) -> None:
    row = {
        "input_ids": [0, *IDS, 0, 0],
        "attention_mask": [0, 1, 1, 1, 1, 0, 0],
        "labels": [-100, -100, -100, 7, 8, 0, 0],
        "text": "the same in words",
    }
    data = prepare([row])
    assert data.train[0] == {"input_ids": IDS, "labels": [-100, -100, 7, 8]}
    assert data.report.format == "tokens/labels"


def test_tables_and_arrays_of_tokens(prepare: Any) -> None:
    import datasets
    import numpy as np

    rows = [{"input_ids": IDS, "labels": [-100, 6, 7, 8]}, {"input_ids": [9, 9], "labels": [-100, 9]}]
    plain = prepare(rows)
    assert prepare(datasets.Dataset.from_list(rows)).train.to_list() == plain.train.to_list()
    arrays = [{name: np.array(value) for name, value in row.items()} for row in rows]
    assert prepare(arrays).train.to_list() == plain.train.to_list()
    assert plain.report.max_tokens == 4


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ({"input_ids": []}, "input_ids", "empty"),
        ({"input_ids": None}, "input_ids", "missing"),
        ({"input_ids": "abc"}, "input_ids", "a list of tokens was expected"),
        ({"input_ids": [1, 2.5]}, "input_ids", "2.5 is a float"),
        ({"input_ids": [5, -3, 7]}, "input_ids", "-3 is no token id"),
        ({"input_ids": [5, 2**40]}, "input_ids", "is no token id"),
        ({"input_ids": IDS, "labels": [1]}, "labels", "1 numbers beside 4 tokens"),
        ({"input_ids": IDS, "labels": [6, 7, 8, -100]}, "labels", "label 0 is 6, but the token there is 5"),
        ({"input_ids": IDS, "labels": [5, -100, -100, -100]}, "input_ids", "no token of it has loss"),
        (
            {"input_ids": IDS, "labels": IDS, "completion_mask": [0, 2, 1, 1]},
            "completion_mask",
            "neither 0 nor 1",
        ),
    ],
)
def test_tokens_that_cannot_be_used(prepare: Any, row: Any, column: str, reason: str) -> None:
    good = {"input_ids": IDS, "labels": IDS, "completion_mask": [1, 1, 1, 1]}
    with pytest.raises(BadRows) as caught:
        prepare([good, row])
    (bad,) = caught.value.rows
    assert (bad.place, bad.column) == ("row 1", column)
    assert reason in bad.reason


def test_a_wish_for_another_loss_is_refused(prepare: Any) -> None:
    with pytest.raises(DataError, match="say themselves"):
        prepare([{"input_ids": IDS, "labels": [-100, 6, 7, 8]}], completion_only_loss=False)
    with pytest.raises(DataError, match="needs rows that say where the completion is"):
        prepare([{"input_ids": IDS}], completion_only_loss=True)


def test_a_row_is_shown_with_its_own_loss(prepare: Any, configured: Any, chat_tokenizer: Any) -> None:
    ids = chat_tokenizer("one two three")["input_ids"]
    rows = [{"input_ids": ids, "labels": [-100, *ids[1:]]}]
    data = prepare(rows)
    pieces = render(data.train[0], find("sft"), chat_tokenizer, configured(rows))
    assert [loss for _, loss in pieces] == [False, True]
    assert "".join(text for text, _ in pieces) == "one two three"


def test_what_a_limit_leaves(prepare: Any) -> None:
    rows = [{"input_ids": [*range(3, 23)], "labels": [-100] * 15 + [*range(18, 23)]}]
    assert prepare(rows, max_seq_length=16).report.truncated_rows == 1
    with pytest.raises(BadRows, match="nothing of the completion is left"):
        prepare(rows, max_seq_length=10)
