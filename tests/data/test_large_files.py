"""Rows that do not lie in memory: lines parsed when they are read, canonical rows in a mapped file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.data import tables
from aligntune_core.data.sources.files import read_file
from aligntune_core.data.sources.jsonfiles import JsonLines
from aligntune_core.errors import DataError

# What Arrow's JSON reader would unify: dates, whole and broken numbers, keys that some lack, nothing, empty lists.
VALUES: list[dict[str, Any]] = [
    {"prompt": "2024-01-01", "completion": "c", "n": 1, "m": {"a": 1}, "l": []},
    {"prompt": "2024-01-02", "completion": "c", "n": 2.5, "m": {"b": [1, None]}, "l": [{"x": 1}, {"y": "z"}]},
    {"completion": "c", "n": None, "prompt": "p", "later": True, "big": 2**70},
    {"prompt": "café \u2028 \U0001f600", "completion": "a\nb\r\n", "n": "text"},
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json"])
def test_rows_of_lines_keep_every_value(tmp_path: Path, name: str) -> None:
    text = "\ufeff" + "\n \n".join(map(json.dumps, VALUES))
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    source = read_file(tmp_path / name, name)
    assert isinstance(source.rows, JsonLines)
    assert [(type(v), v) for row in source.rows for v in row.values()] == [
        (type(v), v) for row in VALUES for v in row.values()
    ]
    assert list(source.rows) == VALUES
    assert [list(row) for row in source.rows] == [list(row) for row in VALUES]
    assert source.columns == ("prompt", "completion", "n", "m", "l", "later", "big")
    assert [source.place(i) for i in range(4)] == [f"{name}:{line}" for line in (1, 3, 5, 7)]
    assert [list(source.take(range(a, b)).rows) for a, b in ((0, 0), (1, 3), (3, 9))] == [
        [],
        VALUES[1:3],
        VALUES[3:],
    ]
    assert source.rows[2] == VALUES[2]


def test_lines_are_read_again_across_files_and_slices(prepare: Any, tmp_path: Path) -> None:
    for shard in range(3):
        rows = [{"prompt": f"p{shard}.{i}", "completion": "c"} for i in range(4)]
        (tmp_path / f"train-{shard}-of-3.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = prepare(str(tmp_path), split="train[2:5]+train[-1:]")
    assert [row["prompt"][0]["content"] for row in data.train] == ["p0.2", "p0.3", "p1.0", "p2.3"]


def rows_of(count: int) -> list[dict[str, Any]]:
    # The type of "answer" shows only in a later batch; "score" is whole at first.
    return [
        {
            "prompt": f"say {i}",
            "answer": None if i < 1500 else str(i),
            "score": i if i < 1200 else i + 0.5,
            "seen": {"a": i} if i < 1100 else {"b": [i]},
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("algorithm", ["grpo", "sft"])
def test_a_mapped_file_holds_what_memory_would(
    prepare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    rows = rows_of(2300)
    if algorithm == "sft":
        rows = [{**row, "completion": f"c {i}"} for i, row in enumerate(rows)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    in_memory = prepare(rows, algorithm)
    monkeypatch.setattr(tables, "IN_MEMORY", 0)
    mapped = prepare(str(path), algorithm)
    assert mapped.train.cache_files
    assert not in_memory.train.cache_files
    assert mapped.train.features == in_memory.train.features
    assert mapped.train.to_list() == in_memory.train.to_list()
    assert mapped.fingerprint == in_memory.fingerprint


def test_columns_that_change_their_type_in_a_later_batch_are_carried_unchanged(
    prepare: Any, tmp_path: Path
) -> None:
    rows = [{"prompt": "p", "answer": "x" if i < 1500 else 3} for i in range(2000)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert prepare(str(path), "grpo").train["answer"][:] == ["x"] * 1500 + [3] * 500
