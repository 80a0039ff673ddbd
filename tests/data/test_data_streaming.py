"""Streams: the same rows as read whole, judged while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.data import BadRows
from aligntune_core.errors import DataError

Pairs = Callable[[int], list[dict[str, str]]]
Lines = Callable[[Path, Any], Path]
BAD = {"prompt": "p", "completion": ""}


def words(stream: Any) -> list[str]:
    return [row["completion"][0]["content"] for row in stream]


def test_streams_of_every_source_give_the_rows_that_reading_gives(
    prepare: Any, pairs: Pairs, lines: Lines, tmp_path: Path
) -> None:
    import datasets

    rows = pairs(40)
    whole = datasets.Dataset.from_list(rows)
    whole.to_parquet(tmp_path / "a.parquet")

    def generate() -> Iterator[dict[str, str]]:
        yield from pairs(40)

    sources: list[Any] = [
        rows,
        whole,
        whole.to_iterable_dataset(),
        datasets.IterableDataset.from_generator(generate),
        datasets.DatasetDict({"train": whole}),
        str(lines(tmp_path / "a.jsonl", rows)),
        str(tmp_path / "a.parquet"),
    ]
    for source in sources:
        data = prepare(source, streaming=True, max_steps=2)
        assert isinstance(data.train, datasets.IterableDataset)
        assert words(data.train) == [f"word {i}" for i in range(40)]
        assert list(next(iter(data.train))) == ["prompt", "completion"]
        assert data.report.rows_given is None
    assert words(prepare(rows, streaming=True, max_steps=2).train) == words(prepare(rows).train)


def test_slices_and_max_samples(prepare: Any, pairs: Pairs) -> None:
    data = prepare(pairs(30), streaming=True, max_steps=2, split="train[5:12]", max_samples=3)
    assert words(data.train) == ["word 5", "word 6", "word 7"]
    with pytest.raises(DataError, match="percentages and negative bounds"):
        prepare(pairs(30), streaming=True, max_steps=2, split="train[:10%]")


def test_held_out_rows_are_read_whole(prepare: Any, pairs: Pairs) -> None:
    data = prepare(pairs(30), streaming=True, max_steps=2, eval_dataset=pairs(3))
    assert len(data.eval) == 3


def test_an_iterable_dataset_needs_a_number_of_steps(prepare: Any, pairs: Pairs) -> None:
    import datasets

    stream = datasets.Dataset.from_list(pairs(3)).to_iterable_dataset()
    with pytest.raises(DataError, match="set max_steps"):
        prepare(stream)
    with pytest.raises(DataError, match="read whole"):
        prepare(pairs(3), eval_dataset=stream)


def test_a_bad_row_among_the_first_is_found_before_training(prepare: Any, pairs: Pairs) -> None:
    with pytest.raises(BadRows, match='row 3: column "completion": empty'):
        prepare([*pairs(3), BAD], streaming=True, max_steps=2)


def test_a_later_bad_row_is_named_while_reading(
    prepare: Any, pairs: Pairs, lines: Lines, tmp_path: Path
) -> None:
    path = lines(tmp_path / "a.jsonl", [*pairs(100), "{broken"])
    data = prepare(str(path), streaming=True, max_steps=2)
    with pytest.raises(BadRows, match=r"a.jsonl:101: not valid JSON"):
        list(data.train)


def test_dropping(prepare: Any, pairs: Pairs, caplog: pytest.LogCaptureFixture) -> None:
    data = prepare([*pairs(30), BAD, *pairs(2)], streaming=True, max_steps=2, on_bad_rows="drop")
    assert len(words(data.train)) == 32
    assert "dropped: row 30" in caplog.text
    with pytest.raises(DataError, match="no row of the stream can be used"):
        prepare([BAD] * 3, streaming=True, max_steps=2, on_bad_rows="drop")


def test_reward_columns_are_carried(prepare: Any) -> None:
    rows = [{"question": f"q{i}", "answer": str(i)} for i in range(3)]
    data = prepare(rows, "grpo", streaming=True, max_steps=2)
    assert [row["answer"] for row in data.train] == ["0", "1", "2"]
