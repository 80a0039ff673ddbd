"""The hook ``tokenize``: what core accepts of it, and core's own answer."""

from __future__ import annotations

from typing import Any

import pluggy
import pytest

from aligntune_core.backends import default_hooks
from aligntune_core.backends.backend import Backend
from aligntune_core.data import BadRows, prepare_datasets
from aligntune_core.errors import HookError
from aligntune_core.hookspecs import PROJECT, hookimpl, hookspec
from aligntune_core.types import BackendInfo, Device, LossOn, Prepared, RowTokens


class Specification:
    @hookspec(firstresult=True)
    def tokenize(self, rows: Any, loss: LossOn, config: Any, prepared: Prepared) -> Any: ...


def backend(answer: Any = None) -> Backend:
    """A backend whose ``tokenize`` gives one answer; None: core's own is asked."""

    class Plugin:
        @hookimpl
        def tokenize(self, rows: Any) -> Any:
            return answer(rows) if callable(answer) else answer

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Specification)
    manager.register(default_hooks)
    manager.register(Plugin())
    return Backend("acme", BackendInfo(), "acme 1.0", (), manager.hook)  # type: ignore[arg-type]


def ask(
    made: Backend, rows: list[dict[str, Any]], config: Any = None, tokenizer: Any = None
) -> list[RowTokens]:
    return made.tokenize(rows, "completion", config, Prepared(device=Device(kind="cpu"), tokenizer=tokenizer))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([RowTokens()], r"returned 1 RowTokens for 2 rows; it must return one a row"),
        (["x", "y"], r"it must return a list of aligntune_core\.RowTokens"),
        ({"a": 1}, r"it must return a list of aligntune_core\.RowTokens"),
        (
            [RowTokens(columns={"input_ids": [1]}), RowTokens()],
            "rows with different columns of tokens: input_ids; none",
        ),
    ],
)
def test_wrong_answers_are_named(answer: Any, reason: str) -> None:
    with pytest.raises(HookError, match=f'hook tokenize of backend "acme" .*{reason}'):
        ask(backend(answer), [{}, {}])


def test_core_answers_where_the_backend_does_not(configured: Any, chat_tokenizer: Any) -> None:
    long = [{"role": "user", "content": "word " * 60}]
    reply = [{"role": "assistant", "content": "yes"}]
    rows = [{"prompt": long[:1], "completion": reply}, {"prompt": reply, "completion": reply}]
    config = configured([{"prompt": "a", "completion": "b"}], max_seq_length=40)
    first, second = ask(backend(), rows, config, chat_tokenizer)
    assert first.column == "prompt"
    assert "nothing of the completion is left" in first.problem
    assert (second.problem, second.truncated) == ("", False)
    assert 0 < second.length < 40 < first.length
    assert ask(backend(), rows, config, None) == [RowTokens(), RowTokens()]


def test_its_problems_are_those_of_the_rows_and_its_tokens_stand_beside_them(
    configured: Any, chat_tokenizer: Any
) -> None:
    from aligntune_core.algorithms import find

    def judged(rows: Any, loss: LossOn) -> list[RowTokens]:
        ends = [row["completion"][0]["content"] for row in rows]
        return [
            RowTokens(length=7, problem="the library refuses it", column="completion")
            if end == "bad"
            else RowTokens(length=3, truncated=True, columns={"input_ids": [len(end), 2, 3]})
            for end in ends
        ]

    source = [{"prompt": "p", "completion": end} for end in ("one", "bad", "three")]

    def run(**keywords: Any) -> Any:
        return prepare_datasets(configured(source, **keywords), find("sft"), chat_tokenizer, judged)

    with pytest.raises(BadRows, match='row 1: column "completion": the library refuses it'):
        run()
    data = run(on_bad_rows="drop")
    assert data.train[:]["input_ids"] == [[3, 2, 3], [5, 2, 3]]
    assert (data.report.max_tokens, data.report.truncated_rows, data.report.layout) == (
        3,
        2,
        ("prompt", "completion"),
    )
