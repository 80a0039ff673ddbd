"""A row of the source may give several rows to train on: counts, places, extras, held-out rows and streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.algorithms import Algorithm, find
from aligntune_core.data import BadRows, prepare_datasets
from aligntune_core.data.formats import own
from aligntune_core.errors import DataError
from aligntune_core.toolkit import Format, Roles

Run = Callable[..., Any]


def apart(row: Any, shape: Any) -> Iterator[dict[str, Any]]:
    """Both answers of a preference row, as rows of their own; none where there is nothing to prefer."""
    preference = own()["preference"]
    if row["chosen"] == row["rejected"]:
        return
    both = next(preference.rows(row, shape))
    for side in ("chosen", "rejected"):
        yield {"prompt": both["prompt"], "completion": both[side]}


APART = Format(
    name="apart",
    roles=(Roles(("prompt", "chosen", "rejected")),),
    recognise=lambda shape: "preference, apart",
    rows=apart,
    columns=("prompt", "completion"),
    loss="completion",
)


@pytest.fixture
def run(chat_tokenizer: Any, configured: Any) -> Run:
    """``run(source, **keywords)``: rows of an algorithm that takes ``APART``."""

    def prepared(source: Any, entry: Format = APART, **keywords: Any) -> Any:
        algorithm: Algorithm = replace(find("sft"), formats=(entry,))
        return prepare_datasets(configured(source, **keywords), algorithm, chat_tokenizer)

    return prepared


def preferences(count: int, first: int = 0) -> list[dict[str, str]]:
    return [
        {"prompt": f"say {i}", "chosen": f"good {i}", "rejected": f"bad {i}", "id": f"#{i}"}
        for i in range(first, first + count)
    ]


def answers(data: Any) -> list[str]:
    return [row["completion"][0]["content"] for row in data]


def test_rows_are_split_and_both_numbers_are_reported(run: Run) -> None:
    data = run(preferences(3))
    assert answers(data.train) == ["good 0", "bad 0", "good 1", "bad 1", "good 2", "bad 2"]
    report = data.report
    assert (report.rows_given, report.rows_dropped, report.rows_made) == (3, 0, 6)
    assert report.as_dict()["rows_made"] == len(data.train) == 6
    assert "3 rows give 6 to train on." in report.saw
    assert run(preferences(3)).fingerprint == data.fingerprint != run(preferences(2)).fingerprint


def test_max_samples_counts_rows_of_the_source(run: Run) -> None:
    data = run(preferences(5), max_samples=2)
    assert answers(data.train) == ["good 0", "bad 0", "good 1", "bad 1"]
    assert data.report.rows_given == 2


def test_errors_name_the_line_of_the_source(run: Run, tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in preferences(3)]
    lines[1] = json.dumps({"prompt": "p", "chosen": "a", "rejected": ""})
    path = tmp_path / "train.jsonl"
    path.write_text("\n\n".join(lines))
    with pytest.raises(BadRows) as caught:
        run(str(path))
    assert [str(row) for row in caught.value.rows] == ['train.jsonl:3: column "rejected": empty']
    data = run(str(path), on_bad_rows="drop")
    assert answers(data.train) == ["good 0", "bad 0", "good 2", "bad 2"]
    assert (data.report.rows_given, data.report.rows_dropped, data.report.rows_made) == (3, 1, 4)


def test_a_row_is_used_whole_or_not_at_all(run: Run) -> None:
    rows = preferences(2)
    rows[1]["prompt"] = "a very long prompt " * 20
    with pytest.raises(
        BadRows, match=r"1 of 2 rows cannot be used\n  row 1: .*nothing of the completion is left"
    ):
        run(rows, max_seq_length=40)
    assert answers(run(rows, max_seq_length=40, on_bad_rows="drop").train) == ["good 0", "bad 0"]


def test_a_row_that_gives_none_is_not_silent(run: Run) -> None:
    rows = preferences(2)
    rows[0]["rejected"] = rows[0]["chosen"]
    with pytest.raises(BadRows, match=r"row 0: gives no row to train on \(format preference, apart\)"):
        run(rows)
    data = run(rows, on_bad_rows="drop")
    assert answers(data.train) == ["good 1", "bad 1"]
    assert data.report.rows_dropped == 1


@pytest.mark.parametrize("kind", ["list", "lines", "dataset"])
def test_columns_carried_along_stay_with_each_of_the_rows(run: Run, tmp_path: Path, kind: str) -> None:
    import datasets

    rows = preferences(3)
    rows[1]["rejected"] = ""
    source: Any = rows
    if kind == "lines":
        source = str(tmp_path / "a.jsonl")
        Path(source).write_text("\n".join(map(json.dumps, rows)))
    elif kind == "dataset":
        source = datasets.Dataset.from_list(rows)
    data = run(source, replace(APART, carries=True), on_bad_rows="drop")
    assert [row["id"] for row in data.train] == ["#0", "#0", "#2", "#2"]
    assert answers(data.train) == ["good 0", "bad 0", "good 2", "bad 2"]


def test_held_out_rows_are_split_too(run: Run) -> None:
    data = run(preferences(3), eval_dataset=preferences(2, first=2))
    assert answers(data.eval) == ["good 2", "bad 2", "good 3", "bad 3"]
    assert data.report.eval.rows_given == 2
    assert "2 held-out rows are also among the training rows." in data.report.saw


def test_streams_are_split_too(run: Run) -> None:
    data = run(preferences(40), streaming=True, max_steps=1, max_samples=20)
    assert answers(data.train) == [f"{side} {i}" for i in range(20) for side in ("good", "bad")]


def test_rows_without_the_columns_of_their_format_are_refused(run: Run) -> None:
    wrong = replace(APART, rows=lambda row, shape: iter([{"prompt": [], "answer": []}]))
    with pytest.raises(
        DataError, match='format "apart" made a row with the columns prompt, answer; it must have'
    ):
        run(preferences(1), wrong)
