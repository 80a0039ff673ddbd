"""JSON files as they come: packed wrongly, named wrongly, wrapped, or with one bad byte."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.data import BadRows
from aligntune_core.errors import DataError

Pairs = Callable[[int], list[dict[str, str]]]
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def words(data: Any) -> list[str]:
    return [row["completion"][0]["content"] for row in data]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
@pytest.mark.parametrize("streaming", [False, True])
def test_damaged_gzip_files_are_named(
    prepare: Any, pairs: Pairs, tmp_path: Path, kind: str, streaming: bool
) -> None:
    lines = ["prompt,completion", *(",".join(row.values()) for row in pairs(500))]
    if kind != "csv":
        lines = [json.dumps(row) for row in pairs(500)]
    whole = gzip.compress("\n".join(lines).encode())
    broken = bytearray(whole)
    broken[40:60] = b"\xff" * 20
    settings = {"streaming": True, "max_steps": 1} if streaming else {}
    for content in (whole[:-20], b"hello, no gzip", bytes(broken)):
        (tmp_path / f"a.{kind}.gz").write_bytes(content)
        with pytest.raises(DataError, match=rf"a\.{kind}\.gz: cannot be unpacked: ") as caught:
            list(prepare(str(tmp_path / f"a.{kind}.gz"), on_bad_rows="drop", **settings).train)
        assert not isinstance(caught.value, BadRows)


@pytest.mark.parametrize("shape", ["[%s]", '{"data": [%s]}', '{"version": "1.0", "data": [%s]}'])
def test_a_bad_byte_in_an_array_costs_one_row(prepare: Any, pairs: Pairs, tmp_path: Path, shape: str) -> None:
    rows = ",\n".join([json.dumps(row) for row in pairs(2)] + ['{"prompt": "caf@", "completion": "x"}'])
    path = tmp_path / "a.json"
    path.write_bytes((shape % rows).encode().replace(b"@", b"\xe9"))
    with pytest.raises(BadRows, match=r"1 of 3 rows cannot be used\n  a.json:3: byte 0xe9 is not UTF-8"):
        prepare(str(path))
    assert words(prepare(str(path), on_bad_rows="drop").train) == ["word 0", "word 1"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"])
def test_what_is_in_a_json_file_counts_more_than_its_name(
    prepare: Any, pairs: Pairs, tmp_path: Path, name: str
) -> None:
    rows = pairs(3)
    texts = {
        "array": json.dumps(rows),
        "pretty array": json.dumps(rows, indent=2),
        "lines": "\n".join(json.dumps(row) for row in rows),
        "pretty objects": "\n".join(json.dumps(row, indent=2) for row in rows),
        "wrapped": json.dumps({"data": rows}),
        "wrapped, with more": json.dumps({"version": {"data": [1]}, "data": rows, "count": 3}, indent=1),
    }
    for what, text in texts.items():
        if what.startswith("wrapped") and name != "a.json" and "\n" not in text:
            continue  # one object on one line of a .jsonl is a row
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        assert words(prepare(str(tmp_path / name)).train) == ["word 0", "word 1", "word 2"], what


def test_objects_over_several_lines_are_named_by_their_first(
    prepare: Any, pairs: Pairs, tmp_path: Path
) -> None:
    texts = [json.dumps(row, indent=1) for row in pairs(4)]
    texts[1] = '{\n "prompt": "p",\n "completion": \n}'
    texts[2] = texts[2].replace("word 2", "")
    (tmp_path / "a.jsonl").write_text("\n".join(texts))
    with pytest.raises(BadRows) as caught:
        prepare(str(tmp_path / "a.jsonl"))
    assert [row.place for row in caught.value.rows] == ["a.jsonl:5", "a.jsonl:9"]
    assert "not valid JSON: Expecting value (line 8)" in caught.value.rows[0].reason
    assert words(prepare(str(tmp_path / "a.jsonl"), on_bad_rows="drop").train) == ["word 0", "word 3"]


@pytest.mark.parametrize("first", ['{"prompt": "a", ', "[1]", '[{"prompt": ', "junk"])
def test_a_broken_first_line_costs_one_row(prepare: Any, pairs: Pairs, tmp_path: Path, first: str) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join([first, *(json.dumps(row) for row in pairs(2))]))
    with pytest.raises(BadRows) as caught:
        prepare(str(tmp_path / "a.jsonl"))
    assert [row.place for row in caught.value.rows] == ["a.jsonl:1"]
    assert words(prepare(str(tmp_path / "a.jsonl"), on_bad_rows="drop").train) == ["word 0", "word 1"]


def test_one_object_may_be_a_row(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for row in (
        {"messages": TALK},
        {"id": 1, "messages": TALK},
        {"prompt": "hi", "completion": "hello", "sources": [{"url": "x"}]},
    ):
        path.write_text(json.dumps(row, indent=1))
        assert words(prepare(str(path)).train) == ["hello"]
