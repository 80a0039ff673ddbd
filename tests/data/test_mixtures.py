"""Several data sets as one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config import resolve_config
from aligntune_core.errors import AligntuneError


def pairs(letter: str, count: int) -> list[dict[str, str]]:
    return [{"prompt": f"p {letter}{i}", "completion": f"{letter}{i}"} for i in range(count)]


def reply(row: Any) -> str:
    return str((row.get("completion") or row["messages"])[-1]["content"])


def test_data_sets_without_weights_follow_each_other(prepare: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction,output\nx,a0\ny,a1\n")
    data = prepare(None, datasets=[{"name": str(tmp_path / "a.csv")}, {"name": pairs("b", 3), "count": 2}])
    assert [reply(row) for row in data.train] == ["a0", "a1", "b0", "b1"]
    assert data.report.rows_given == data.report.rows_made == 4
    assert any(line.startswith("datasets[1]") and "50.0% of all rows" in line for line in data.report.saw)


def test_weights_are_shares_and_no_row_comes_twice(prepare: Any) -> None:
    mixed = [{"name": pairs("a", 400), "weight": 3}, {"name": pairs("b", 400), "weight": 1}]
    data = prepare(None, datasets=mixed)
    replies = [reply(row) for row in data.train]
    letters = Counter(text[0] for text in replies)
    assert letters["a"] == 400
    assert 100 < letters["b"] < 170
    assert len(set(replies)) == len(replies) == data.report.rows_made
    again = prepare(None, datasets=mixed)
    assert ([reply(row) for row in again.train], again.fingerprint) == (replies, data.fingerprint)
    other = prepare(None, datasets=mixed, data_seed=9)
    assert [reply(row) for row in other.train] != replies
    assert other.fingerprint != data.fingerprint


@pytest.mark.parametrize("turned", [False, True])
def test_conversations_and_pairs_become_conversations(prepare: Any, turned: bool) -> None:
    turns = [{"role": role, "content": f"{role} {i}"} for i in range(2) for role in ("user", "assistant")]
    both: list[Any] = [{"name": [{"messages": turns}]}, {"name": pairs("b", 1)}]
    data = prepare(None, datasets=both[::-1] if turned else both)
    assert data.report.layout == ("messages",)
    assert sorted(len(row["messages"]) for row in data.train) == [2, 4]


def test_context_of_a_pair_stays_without_loss(prepare: Any) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    pair = {"prompt": [*turns, turns[0]], "completion": [turns[1]]}
    data = prepare(None, datasets=[{"name": [{"messages": turns * 2}]}, {"name": [pair]}])
    assert [message.get("weight") for message in data.train[1]["messages"]] == [None, 0, None, None]


def test_formats_that_do_not_go_together_are_both_named(prepare: Any) -> None:
    with pytest.raises(
        AligntuneError, match=r"datasets\[1\]: format .*text.* does not go with .*datasets\[0\]"
    ):
        prepare(None, datasets=[{"name": pairs("a", 2)}, {"name": [{"text": "words"}]}])


def test_a_bad_row_is_named_with_its_data_set(prepare: Any, tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": null}\n')
    with pytest.raises(AligntuneError, match=r"datasets\[1\]: (?s:.)*b\.jsonl:2"):
        prepare(None, datasets=[{"name": pairs("a", 2)}, {"name": str(path)}])


def test_a_share_is_held_out_of_each(prepare: Any) -> None:
    data = prepare(None, datasets=[{"name": pairs("a", 20)}, {"name": pairs("b", 40)}], eval_share=0.1)
    assert Counter(reply(row)[0] for row in data.eval) == {"a": 2, "b": 4}
    assert len(data.train) == 54


def test_carried_columns_of_other_types(prepare: Any) -> None:
    both = [{"name": [{"prompt": "a", "answer": 1}]}, {"name": [{"prompt": "b", "answer": "x", "more": 2.5}]}]
    data = prepare(None, "grpo", datasets=both)
    assert data.train["answer"][:] == [1, "x"]
    assert data.train["more"][:] == [None, 2.5]


def test_each_has_settings_of_its_own(prepare: Any) -> None:
    odd = [{"ask": "q", "say": "b0"}]
    mapping = {"ask": "prompt", "say": "completion"}
    data = prepare(
        None,
        datasets=[
            {"name": {"train": pairs("x", 1), "extra": pairs("a", 1)}, "split": "extra"},
            {"name": odd, "column_mapping": mapping},
        ],
    )
    assert [reply(row) for row in data.train] == ["a0", "b0"]


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"dataset_name": "d", "datasets": [{"name": "x"}]}, "dataset_name and datasets both"),
        ({"datasets": []}, "datasets is empty"),
        ({}, "dataset_name"),
        ({"datasets": [{"name": "x", "wieght": 2}]}, "does not know wieght"),
        ({"datasets": [{"weight": 2}]}, "has no name"),
        ({"datasets": [{"name": "x", "weight": 0}]}, "weight=0 must be a number above 0"),
        ({"datasets": [{"name": "x", "count": 0}]}, "max_samples=0"),
        ({"datasets": [{"name": "x", "weight": 1}, {"name": "y"}]}, r"datasets\[1\] has no weight"),
        ({"datasets": [{"name": "x"}], "streaming": True, "max_steps": 1}, "cannot be streamed together"),
        ({"datasets": [{"name": "x"}], "eval_split": "test"}, "eval_split names no split"),
    ],
)
def test_mixtures_that_cannot_be(keywords: dict[str, Any], words: str) -> None:
    from aligntune_core.config.resolve.resolution import resolve
    from aligntune_core.types import Device

    with pytest.raises(AligntuneError, match=words):
        resolve(resolve_config("sft", model_name="m", **keywords), Device(kind="cpu"))


def test_rows_in_memory_are_recorded_by_their_hash_alone() -> None:
    from aligntune_core.config.payload import pack, unpack
    from aligntune_core.config.record import in_memory, plain

    config = resolve_config(
        "sft",
        model_name="m",
        datasets=[{"name": pairs("secret", 2), "weight": 2}, {"name": "d", "weight": 1}],
    )
    assert in_memory(config) == ["data.datasets"]
    assert "secret" not in repr(plain(config))
    assert unpack(pack(config)).data.datasets == config.data.datasets
