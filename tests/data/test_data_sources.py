"""Where rows come from: files, folders, objects, the hub; splits, slices, held-out rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.errors import DataError

Pairs = Callable[[int], list[dict[str, str]]]
Lines = Callable[[Path, Any], Path]


def words(data: Any) -> list[str]:
    return [row["completion"][0]["content"] for row in data]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    """Rows in the format that the suffix says."""
    import datasets
    import pyarrow as pa

    table = pa.Table.from_pylist(rows)
    suffix = path.suffix
    if suffix == ".csv":
        datasets.Dataset(table).to_csv(path)
    elif suffix == ".tsv":
        path.write_text(
            "\n".join("\t".join(r) for r in [rows[0], *[tuple(row.values()) for row in rows]]) + "\n"
        )
    elif suffix == ".parquet":
        datasets.Dataset(table).to_parquet(path)
    elif suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix == ".gz":
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    else:
        path.write_text("\ufeff" + "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.arrow", "a.jsonl.gz"]
)
def test_every_kind_of_file_gives_the_same_rows(
    prepare: Any, pairs: Pairs, tmp_path: Path, name: str
) -> None:
    data = prepare(str(write(tmp_path / name, pairs(5))))
    assert words(data.train) == [f"word {i}" for i in range(5)]
    assert data.report.source == name
    assert data.fingerprint == prepare(pairs(5)).fingerprint


def test_arrow_in_the_file_layout_json_lines_in_a_json_file_and_a_wrapped_list(
    prepare: Any, pairs: Pairs, tmp_path: Path
) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist(pairs(3))
    with pa.OSFile(str(tmp_path / "f.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "lines.json").write_text("\n".join(json.dumps(row) for row in pairs(3)))
    (tmp_path / "wrapped.json").write_text(json.dumps({"data": pairs(3)}))
    for name in ("f.arrow", "lines.json", "wrapped.json"):
        assert len(prepare(str(tmp_path / name)).train) == 3


def test_pathlib_paths_and_home(prepare: Any, pairs: Pairs, tmp_path: Path, monkeypatch: Any) -> None:
    path = write(tmp_path / "a.jsonl", pairs(2))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(prepare(path).train) == len(prepare("~/a.jsonl").train) == 2


def test_folder_names_its_splits(prepare: Any, pairs: Pairs, tmp_path: Path) -> None:
    rows = pairs(9)
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train-00000-of-00002.parquet", rows[:3])
    write(tmp_path / "data" / "train-00001-of-00002.parquet", rows[3:5])
    write(tmp_path / "data" / "test_sft-00000-of-00001.parquet", rows[5:6])
    write(tmp_path / "my-valid.jsonl", rows[6:])
    assert words(prepare(str(tmp_path)).train) == [f"word {i}" for i in range(5)]
    assert words(prepare(str(tmp_path), split="test_sft").train) == ["word 5"]
    assert len(prepare(str(tmp_path), split="validation").train) == 3
    with pytest.raises(DataError, match=r'no split "tets".* It has: .*test_sft'):
        prepare(str(tmp_path), split="tets")


def test_config_name_is_a_subfolder(prepare: Any, pairs: Pairs, tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    write(tmp_path / "main" / "train.jsonl", pairs(2))
    write(tmp_path / "other.jsonl", pairs(5))
    assert len(prepare(str(tmp_path), config_name="main").train) == 2


def test_saved_datasets(prepare: Any, pairs: Pairs, tmp_path: Path) -> None:
    import datasets

    whole = datasets.Dataset.from_list(pairs(4))
    whole.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": whole, "test": whole.select([0])}).save_to_disk(tmp_path / "two")
    assert len(prepare(str(tmp_path / "one")).train) == 4
    both = prepare(str(tmp_path / "two"), eval_split="test")
    assert (len(both.train), len(both.eval)) == (4, 1)
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read back"):
        prepare(str(tmp_path / "one"))


def test_empty_folder_and_wrong_objects(prepare: Any, tmp_path: Path) -> None:
    for source, message in (
        (str(tmp_path), "no data file in this folder"),
        ([], "the list of rows is empty"),
        ({"prompt": ["a"], "completion": ["b"]}, "a dict must hold splits"),
        (7, "a builtins.int is not a source of rows"),
    ):
        with pytest.raises(DataError, match=message):
            prepare(source)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("train", range(200)),
        ("train[:50]", range(50)),
        ("train[150:]", range(150, 200)),
        ("train[-3:]", range(197, 200)),
        ("train[:1%]", range(2)),
        ("train[10%:20%]", range(20, 40)),
        ("train[:500]", range(200)),
        ("train[:2]+train[5:7]", [0, 1, 5, 6]),
    ],
)
def test_slices_mean_the_same_for_lists_files_and_datasets(
    prepare: Any, pairs: Pairs, tmp_path: Path, expression: str, expected: Any
) -> None:
    import datasets

    rows = pairs(200)
    wanted = [f"word {i}" for i in expected]
    for source in (rows, str(write(tmp_path / "a.jsonl", rows)), datasets.Dataset.from_list(rows)):
        assert words(prepare(source, split=expression).train) == wanted
    assert len(prepare(rows, split=expression, max_samples=2).train) == 2


@pytest.mark.parametrize("expression", ["train[", "train[1:2:3]", "train[a:b]", "[:5]", "train[:1.5%]"])
def test_slices_that_cannot_be_read(prepare: Any, pairs: Pairs, expression: str) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        prepare(pairs(3), split=expression)


def test_a_slice_without_rows(prepare: Any, pairs: Pairs) -> None:
    with pytest.raises(DataError, match="holds no rows"):
        prepare(pairs(3), split="train[3:]")


def test_held_out_rows(prepare: Any, pairs: Pairs, tmp_path: Path) -> None:
    rows = pairs(10)
    data = prepare(rows, split="train[:80%]", eval_split="train[80%:]")
    assert (len(data.train), words(data.eval)) == (8, ["word 8", "word 9"])
    assert data.report.eval is not None
    assert data.report.eval.rows_given == 2
    other = prepare(rows, eval_dataset=str(write(tmp_path / "held.jsonl", pairs(3))), max_eval_samples=2)
    assert len(other.eval) == 2
    assert "2 held-out rows are also among the training rows." in other.report.saw
    assert "2 held-out" not in " ".join(data.report.saw)
    assert other.fingerprint != prepare(rows).fingerprint


def test_held_out_split_is_found_or_asked_for(prepare: Any, pairs: Pairs) -> None:
    import datasets

    part = datasets.Dataset.from_list(pairs(2))
    splits = datasets.DatasetDict({"train": part, "validation": part.select([1])})
    assert words(prepare(pairs(2), eval_dataset=splits).eval) == ["word 1"]
    with pytest.raises(DataError, match="splits a, b: choose one with eval_split="):
        prepare(pairs(2), eval_dataset={"a": part, "b": part})
    with pytest.raises(DataError, match=r'no split "test".* Choose one with eval_split='):
        prepare(splits, eval_split="test")


def test_held_out_rows_may_have_another_format_but_not_another_kind(prepare: Any, pairs: Pairs) -> None:
    held = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    mapped = [{"q": "x", "a": "y"}]
    data = prepare(mapped, eval_dataset=held, column_mapping={"q": "prompt", "a": "completion"})
    assert words(data.eval) == ["a"]
    whole = prepare(held, eval_dataset=pairs(1), completion_only_loss=False)
    assert [m["content"] for m in whole.eval[0]["messages"]] == ["say 0", "word 0"]
    with pytest.raises(DataError, match="format text, but the training rows are prompt/completion"):
        prepare(pairs(2), eval_dataset=[{"text": "t"}])


def test_bad_held_out_rows_are_named_as_such(prepare: Any, pairs: Pairs) -> None:
    with pytest.raises(DataError, match=r"held out\): 1 of 1 rows"):
        prepare(pairs(2), eval_dataset=[{"prompt": "p", "completion": ""}])


def test_fingerprint_is_the_contents_alone(prepare: Any, pairs: Pairs) -> None:
    import datasets

    first = prepare(pairs(4)).fingerprint
    assert len(first) == 32
    assert prepare(datasets.Dataset.from_list(pairs(4))).fingerprint == first
    changed = pairs(4)
    changed[2]["completion"] += "."
    assert prepare(changed).fingerprint != first
    assert prepare(list(reversed(pairs(4)))).fingerprint != first
    assert prepare(pairs(4), system_prompt="s").fingerprint != first
    online = [{"prompt": "p", "answer": "1"}]
    assert prepare(online, "grpo").fingerprint != prepare([{**online[0], "answer": "2"}], "grpo").fingerprint


def test_report_is_json(prepare: Any, pairs: Pairs) -> None:
    report = prepare(pairs(3), eval_split="train[:1]", max_seq_length=20).report
    again = json.loads(json.dumps(report.as_dict()))
    assert again["rows_given"] == 3
    assert again["columns"] == ["prompt", "completion"]
    assert again["max_tokens"] >= again["mean_tokens"] > 5
    assert again["eval"]["rows_given"] == 1


def test_truncated_rows_are_counted(prepare: Any) -> None:
    rows = [
        {"prompt": "p", "completion": "one two three four five six seven eight"},
        {"prompt": "p", "completion": "x"},
    ]
    report = prepare(rows, max_seq_length=18).report
    assert report.truncated_rows == 1
    assert "1 rows are longer than max_seq_length 18 and are cut." in report.saw


def test_rows_given_later_are_read_like_those_of_the_run(
    pairs: Pairs, configured: Any, chat_tokenizer: Any
) -> None:
    import datasets

    from aligntune_core.algorithms import find
    from aligntune_core.data import prepare_rows

    config = configured(
        [{"q": "a", "r": "b"}], split="train[:1]", column_mapping={"q": "prompt", "r": "completion"}
    )
    later = datasets.Dataset.from_list([{"q": f"say {i}", "r": f"word {i}"} for i in range(4)])
    splits = {"train": later.select([0]), "test": later}
    for rows, count in ((later, 4), (splits, 4), (list(later), 4), (pairs(2), 2)):
        assert len(prepare_rows(rows, config, find("sft"), chat_tokenizer)) == count
    with pytest.raises(DataError, match="evaluation reads rows whole"):
        prepare_rows(later.to_iterable_dataset(), config, find("sft"), chat_tokenizer)


def test_no_tokenizer_means_no_measuring(pairs: Pairs, configured: Any) -> None:
    from aligntune_core.algorithms import find
    from aligntune_core.data import prepare_datasets

    data = prepare_datasets(configured(pairs(2), max_seq_length=1), find("sft"), None)
    assert data.report is not None
    assert (len(data.train), data.report.max_tokens) == (2, 0)
    assert "not measured" in data.report.template


def test_rows_of_reasoning_gym(prepare: Any) -> None:
    pytest.importorskip("reasoning_gym")
    data = prepare("reasoning_gym/chain_sum", "grpo", max_samples=4, eval_split="test", max_eval_samples=3)
    assert (len(data.train), len(data.eval)) == (4, 3)
    assert {"answer", "reasoning_gym"} <= set(data.train.column_names)
    assert not any("also among" in sentence for sentence in data.report.saw)
    assert (
        data.fingerprint
        == prepare(
            "reasoning_gym/chain_sum", "grpo", max_samples=4, eval_split="test", max_eval_samples=3
        ).fingerprint
    )


# --- paths, and loaders -----------------------------------------------------------------------------------------------


def test_a_misspelt_path_names_the_nearest(
    prepare: Any, pairs: Pairs, tmp_path: Path, monkeypatch: Any
) -> None:
    write(tmp_path / "train_rows.jsonl", pairs(1))
    monkeypatch.chdir(tmp_path)
    for spec in ("train_row.jsonl", str(tmp_path / "train_row.jsonl"), "./train_rows.json"):
        with pytest.raises(
            DataError, match=r'there is no file or folder .* Did you mean ".*train_rows.jsonl"'
        ):
            prepare(spec)


def test_unknown_splits_and_configurations_are_said_with_the_keyword(pairs: Pairs, tmp_path: Path) -> None:
    """The loader's own errors, provoked on a local folder, which it loads as it would a repository."""
    from aligntune_core.data.sources.hub import load_known

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "train.jsonl", pairs(2))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files: a/train.jsonl\n"
        "- config_name: b\n  data_files: b/train.jsonl\n---\n"
    )

    def load(split: str, config_name: str | None) -> Any:
        return load_known(str(tmp_path), split, config_name=config_name, token=None, streaming=False)

    assert len(load("train", "a")) == 2
    with pytest.raises(DataError, match="choose one with config_name="):
        load("train", None)
    with pytest.raises(DataError, match='no configuration "c"'):
        load("train", "c")
    with pytest.raises(DataError, match=r'no split "test"; choose one with split=.*train'):
        load("test", "a")
