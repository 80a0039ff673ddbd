"""Files of plain text, objects of rows, patterns of files, and tables of other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pandas
import pyarrow
import pytest

from aligntune_core.errors import AligntuneError, DataError


def replies(data: Any) -> list[str]:
    return [row["completion"][0]["content"] for row in data]


def test_each_line_of_a_text_file_is_a_row(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("\ufefffirst line\n\n   \n  second\r\nthird")
    data = prepare(str(path))
    assert data.train["text"][:] == ["first line", "  second", "third"]
    assert data.report.rows_given == 3


def test_a_line_that_is_not_utf8_is_named(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"good\n\nbad \xff\n")
    with pytest.raises(DataError, match=r"corpus\.txt:3: .*byte 0xff is not UTF-8"):
        prepare(str(path))


def test_a_markdown_file_is_one_row(prepare: Any, tmp_path: Path) -> None:
    for name in ("b.md", "a.md", "README.md"):
        (tmp_path / name).write_text(f"# {name}\n\nwords\n")
    assert prepare(str(tmp_path)).train["text"][:] == ["# a.md\n\nwords\n", "# b.md\n\nwords\n"]


def test_texts_beside_files_of_rows_are_not_rows(prepare: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("about these rows\n")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert replies(prepare(str(tmp_path)).train) == ["b"]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_of_objects_is_rows(prepare: Any, tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "a.json"
    rows = {f"id{i}": {"prompt": f"p{i}", "completion": f"c{i}"} for i in range(3)}
    path.write_text(json.dumps(rows, indent=indent))
    assert replies(prepare(str(path)).train) == ["c0", "c1", "c2"]


def test_a_bad_row_in_an_object_of_objects_is_named_by_its_line(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '{\n"x": {"prompt": "a", "completion": "b"},\n"y": {"prompt": "a", "completion": null}\n}'
    )
    with pytest.raises(DataError, match=r"a\.json:3: "):
        prepare(str(path))


def test_an_object_whose_columns_are_objects_stays_one_row(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    message = {"role": "user", "content": "hi"}
    row = {
        "prompt": [message],
        "chosen": [{**message, "role": "assistant"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
    path.write_text(json.dumps(row))
    assert len(prepare(str(path), "dpo").train) == 1


def test_blank_lines_above_a_csv_header_are_passed_over(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n  \n,,\nprompt,completion\na,b\n")
    assert replies(prepare(str(path)).train) == ["b"]


def test_a_pattern_stands_for_its_files(prepare: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": "p", "completion": name}))
    (tmp_path / "test.jsonl").write_text(json.dumps({"prompt": "p", "completion": "held out"}))
    data = prepare(str(tmp_path / "*.jsonl"), eval_split="test")
    assert replies(data.train) == ["a", "b"]
    assert replies(data.eval) == ["held out"]


def test_a_pattern_without_files_is_no_dataset(prepare: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        prepare(str(tmp_path / "*.jsonl"))


def test_a_frame_of_pandas(prepare: Any) -> None:
    frame = pandas.DataFrame({"prompt": ["a", "b"], "answer": [1, 2], "note": ["x", None], "mixed": [1, "x"]})
    data = prepare(frame, "grpo").train
    assert data["answer"][:] == [1, 2]
    assert data["note"][:] == ["x", None]
    assert data["mixed"][:] == [1, "x"]


def test_a_table_of_pyarrow_and_splits_of_frames(prepare: Any) -> None:
    rows = [{"prompt": "a", "completion": "b"}]
    assert replies(prepare(pyarrow.Table.from_pylist(rows)).train) == ["b"]
    frame = pandas.DataFrame(rows)
    data = prepare({"train": frame, "test": frame}, eval_split="test")
    assert replies(data.train) == replies(data.eval) == ["b"]


def test_arrays_as_cells(prepare: Any) -> None:
    frame = pandas.DataFrame(
        {"messages": [numpy.array([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])]}
    )
    assert prepare(frame).report.rows_made == 1


# --- a share held out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["list", "dataset", "lines"])
def test_a_share_of_the_rows_is_held_out(prepare: Any, tmp_path: Path, kind: str) -> None:
    import datasets

    rows = [{"prompt": f"p{i}", "completion": f"c{i}", "note": i} for i in range(1200)]
    source: Any = rows
    if kind == "dataset":
        source = datasets.Dataset.from_list(rows)
    elif kind == "lines":
        source = str(tmp_path / "a.jsonl")
        Path(source).write_text("\n".join(map(json.dumps, rows)))
    data = prepare(source, eval_share=0.05)
    train, held_out = replies(data.train), replies(data.eval)
    assert (len(train), len(held_out)) == (1140, 60)
    assert sorted(train + held_out) == sorted(str(row["completion"]) for row in rows)
    assert train == sorted(train, key=lambda text: int(text[1:]))
    again = prepare(source, eval_share=0.05)
    assert (replies(again.eval), again.fingerprint) == (held_out, data.fingerprint)
    assert replies(prepare(source, eval_share=0.05, data_seed=7).eval) != held_out
    assert data.report.eval.rows_given == 60


@pytest.mark.parametrize("as_dataset", [False, True])
def test_columns_stay_with_their_rows_where_a_share_is_held_out(prepare: Any, as_dataset: bool) -> None:
    import datasets

    rows: Any = [{"prompt": f"p{i}", "answer": f"a{i}"} for i in range(40)]
    data = prepare(datasets.Dataset.from_list(rows) if as_dataset else rows, "grpo", eval_share=0.25)
    for part in (data.train, data.eval):
        assert [row["answer"][1:] for row in part] == [row["prompt"][0]["content"][1:] for row in part]


def test_a_bad_row_that_is_held_out_is_named_by_its_place(prepare: Any) -> None:
    rows = [{"prompt": f"p{i}", "completion": "c" if i != 13 else None} for i in range(20)]
    with pytest.raises(DataError, match="row 13"):
        prepare(rows, eval_share=0.5)


def test_a_share_must_leave_rows_to_train_on(prepare: Any) -> None:
    with pytest.raises(DataError, match=r"eval_share=0.5 of 1 rows leaves none"):
        prepare([{"prompt": "p", "completion": "c"}], eval_share=0.5)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"eval_split": "test"}, "eval_share and eval_split"),
        ({"streaming": True, "max_steps": 2}, "a stream has not"),
        ({"eval_share": 1.5}, "eval_share"),
    ],
)
def test_a_share_that_cannot_be_held_out(prepare: Any, keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(AligntuneError, match=words):
        prepare([{"prompt": "p", "completion": "c"}] * 9, **{"eval_share": 0.1, **keywords})


def test_the_json_of_the_library_is_made_exact_once() -> None:
    from datasets.features import features as library

    from aligntune_core.data.tables import exact_json

    exact_json()
    writer = library.ujson_dumps
    exact_json()
    assert library.ujson_dumps is writer
