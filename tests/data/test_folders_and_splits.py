"""Folders: what their subfolders and the names of their files mean, and how their rows are called."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.data import BadRows
from aligntune_core.errors import DataError

Pairs = Callable[[int], list[dict[str, str]]]
BAD = {"prompt": "p", "completion": ""}


def put(folder: Path, files: dict[str, list[dict[str, str]]]) -> str:
    for name, rows in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def words(data: Any) -> list[str]:
    return [row["completion"][0]["content"] for row in data]


def test_config_name_takes_the_subfolder_or_says_which_there_are(
    prepare: Any, pairs: Pairs, tmp_path: Path
) -> None:
    rows = pairs(5)
    folder = put(tmp_path, {"main/train.jsonl": rows[:2], "socratic/train.jsonl": rows[2:]})
    assert words(prepare(folder, config_name="socratic").train) == ["word 2", "word 3", "word 4"]
    assert len(prepare(folder).train) == len(prepare(folder, config_name="default").train) == 5
    with pytest.raises(DataError) as caught:
        prepare(folder, config_name="sociatic")
    assert (
        'has no subfolder "sociatic" (config_name). Did you mean "socratic"? Its subfolders: main, socratic.'
        in str(caught.value)
    )
    # It belongs to dataset_name: held-out rows from elsewhere need not have it, and use it where they do.
    held = put(tmp_path / "held", {"test.jsonl": pairs(1)})
    assert len(prepare(folder, config_name="main", eval_dataset=held).eval) == 1
    assert words(prepare(pairs(1), config_name="main", eval_dataset=folder).eval) == ["word 0", "word 1"]


def test_config_name_where_there_is_nothing_to_choose_is_said(
    prepare: Any, pairs: Pairs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import datasets

    put(tmp_path, {"a.jsonl": pairs(2)})
    saved = tmp_path / "saved"
    datasets.Dataset.from_list(pairs(2)).save_to_disk(saved / "main")
    sources = (pairs(2), datasets.Dataset.from_list(pairs(2)), str(tmp_path / "a.jsonl"), str(saved / "main"))
    for source in sources:
        for settings in ({}, {"streaming": True, "max_steps": 1}):
            caplog.clear()
            with caplog.at_level(logging.WARNING, "aligntune.data"):
                report = prepare(source, config_name="main", **settings).report
            (said,) = [
                sentence for sentence in report.saw if sentence.startswith('config_name="main" chooses')
            ]
            assert said in caplog.text
    assert not any("config_name" in sentence for sentence in prepare(pairs(2)).report.saw)
    assert not any("config_name" in s for s in prepare(str(saved), config_name="main").report.saw)


@pytest.mark.parametrize("shard", ["", "-00000-of-00001"])
@pytest.mark.parametrize("settings", [{}, {"streaming": True, "max_steps": 1}])
def test_the_stem_of_a_file_is_its_split(
    prepare: Any, pairs: Pairs, tmp_path: Path, shard: str, settings: dict[str, Any]
) -> None:
    rows = pairs(5)
    files = {f"train_sft{shard}.jsonl": rows[:3], f"test_sft{shard}.jsonl": rows[3:]}
    folder = put(tmp_path, files)
    for split in ("train_sft", "train"):
        assert words(prepare(folder, split=split, **settings).train) == ["word 0", "word 1", "word 2"]
    for split in ("test_sft", "test"):
        assert words(prepare(folder, split="train_sft", eval_split=split).eval) == ["word 3", "word 4"]
    assert words(prepare(rows, eval_dataset=folder).eval) == ["word 3", "word 4"]
    with pytest.raises(DataError, match=r'no split "train_gen".* It has: test_sft, train_sft\.'):
        prepare(folder, split="train_gen", **settings)


def test_a_file_alone_has_its_stem_and_train_as_names(prepare: Any, pairs: Pairs, tmp_path: Path) -> None:
    for stem, names in (
        ("train_sft", ("train_sft", "train")),
        ("test_sft", ("test_sft", "test", "train")),
        ("val", ("validation", "train")),
        ("rows", ("train",)),
    ):
        put(tmp_path, {f"{stem}.jsonl": pairs(2)})
        for split in names:
            assert len(prepare(str(tmp_path / f"{stem}.jsonl"), split=split).train) == 2
        assert len(prepare(pairs(1), eval_dataset=str(tmp_path / f"{stem}.jsonl")).eval) == 2


def test_train_is_the_split_called_that_and_no_choice_between_others(
    prepare: Any, pairs: Pairs, tmp_path: Path
) -> None:
    rows = pairs(6)
    numbered = put(tmp_path / "n", {"train_1.jsonl": rows[:2], "train-part2.jsonl": rows[2:4]})
    assert len(prepare(numbered).train) == 4
    two = put(tmp_path / "two", {"train_sft.jsonl": rows[:2], "train_gen.jsonl": rows[2:4]})
    with pytest.raises(DataError, match=r'no split "train".* It has: train_gen, train_sft'):
        prepare(two)
    assert len(prepare(two, split="train_sft+train_gen").train) == 4
    put(tmp_path / "two", {"train.jsonl": rows[4:]})
    assert words(prepare(two).train) == ["word 4", "word 5"]


def test_the_total_belongs_to_the_folder(prepare: Any, pairs: Pairs, tmp_path: Path) -> None:
    import datasets

    folder = put(tmp_path / "lines", {"a.jsonl": pairs(2), "b.jsonl": [*pairs(2), BAD]})
    with pytest.raises(BadRows) as caught:
        prepare(folder)
    assert str(caught.value).startswith(f"{folder}: 1 of 5 rows cannot be used\n  b.jsonl:3: ")
    assert prepare(folder, on_bad_rows="drop").report.source == folder
    (tmp_path / "tables").mkdir()
    for name, rows in (("a", pairs(2)), ("b", [*pairs(2), BAD])):
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / "tables" / f"{name}.parquet")
    with pytest.raises(BadRows, match=r"tables: 1 of 5 rows cannot be used\n  row 4: "):
        prepare(str(tmp_path / "tables"))
    both = put(tmp_path / "both", {"train.jsonl": pairs(2), "test.jsonl": [BAD]})
    with pytest.raises(BadRows) as caught:
        prepare(both, split="train+test")
    assert str(caught.value).startswith(f"{both}: 1 of 3 rows cannot be used\n  test.jsonl:1: ")
