"""Callables of every form: how each is called, and what is said when one fails."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import pytest

from aligntune_core.config.schema.sections import RewardsConfig
from aligntune_core.errors import ConfigError, RewardError
from aligntune_core.rewards import RewardSet, Scores, build_rewards, reads

if TYPE_CHECKING:
    from decimal import Decimal

PROMPTS = ["2+2?", "3+3?"]
SAID = ["4", "7"]
CHAT_PROMPTS = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": p}] for p in PROMPTS]
CHAT_SAID = [[{"role": "assistant", "content": c}] for c in SAID]


def rewards(*functions: Any, **more: Any) -> RewardSet:
    return build_rewards(RewardsConfig(functions=list(functions), **more))


def score(function: Any, columns: dict[str, list[Any]] | None = None, **more: Any) -> list[float]:
    return rewards(function).score(PROMPTS, SAID, columns or {}, **more).values[0]


def test_a_batch_function_gets_trls_form_unchanged() -> None:
    seen: dict[str, Any] = {}

    def f(completions: Any, **kwargs: Any) -> list[float]:
        seen.update(kwargs, completions=completions)
        return [1.0, 2.0]

    columns = {"answer": ["4", "6"], "prompt": ["x", "y"], "completion": ["x", "y"]}
    ids = [[1], [2, 3]]
    scores = rewards(f).score(CHAT_PROMPTS, CHAT_SAID, columns, ids, {"trainer_state": "state"})
    assert scores == Scores(names=("f",), values=[[1.0, 2.0]], total=[1.0, 2.0])
    assert seen == {
        "prompts": CHAT_PROMPTS,
        "completions": CHAT_SAID,
        "completion_ids": ids,
        "answer": ["4", "6"],
        "trainer_state": "state",
    }


def test_a_batch_function_without_open_keywords_gets_what_it_declares() -> None:
    def f(prompts: list[str], completions: list[str], answer: list[str]) -> list[float]:
        return [float(c == a) for c, a in zip(completions, answer, strict=True)]

    assert score(f, {"answer": ["4", "6"], "other": [1, 2]}) == [1.0, 0.0]


@pytest.mark.backend
def test_functions_of_trl_itself_work() -> None:
    from trl.rewards import get_soft_overlong_punishment, think_format_reward

    overlong = get_soft_overlong_punishment(max_completion_len=4, soft_punish_cache=2)
    found = rewards(overlong, think_format_reward)
    assert found.names == ("soft_overlong_punishment_reward", "think_format_reward")
    said = [[{"role": "assistant", "content": c}] for c in ("<think>a</think>b", "b")]
    assert found.score(CHAT_PROMPTS, said, {}, [[1, 2, 3], [1]]).values == [[-0.5, 0.0], [1.0, 0.0]]


def test_the_order_of_a_function_written_for_keywords_is_free() -> None:
    def f(answer: list[str], completions: list[str]) -> list[float]:
        return [float(c == a) for c, a in zip(completions, answer, strict=True)]

    assert score(f, {"answer": ["4", "6"]}) == [1.0, 0.0]


def test_a_per_sample_function_gets_its_own_rows_values() -> None:
    def f(text: str, reference: str | None = None, **kw: Any) -> float:
        assert set(kw) == {"level", "answer", "prompt"}
        return float(text == reference) + float(kw["level"])

    assert score(f, {"answer": ["4", "6"], "level": [10, 20]}) == [11.0, 20.0]


def test_a_per_sample_function_gets_text_of_conversations() -> None:
    seen = []

    def f(completion: str, prompt: str) -> int:
        seen.append((prompt, completion))
        return 1

    assert rewards(f).score(CHAT_PROMPTS, CHAT_SAID).total == [1.0, 1.0]
    assert seen == [("2+2?", "4"), ("3+3?", "7")]


@pytest.mark.parametrize("name", ["text", "completion", "response", "output", "generated_text"])
@pytest.mark.parametrize("column", ["answer", "reference", "solution", "ground_truth", "target"])
def test_names_of_text_and_reference(name: str, column: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def f({name}, reference=None):\n    return float({name} == reference)", space)
    assert score(space["f"], {column: ["4", "6"]}) == [1.0, 0.0]


def test_the_column_of_that_very_name_wins() -> None:
    def f(text: str, solution: str, answer: str) -> float:
        return float(solution == "s" and answer == "a")

    assert score(f, {"answer": ["a", "a"], "solution": ["s", "x"]}) == [1.0, 0.0]


def test_prompt_first() -> None:
    def f(prompt: str, completion: str) -> float:
        return float(prompt == "2+2?" and completion == "4")

    assert score(f) == [1.0, 0.0]


def test_a_column_named_like_the_text_does_not_collide() -> None:
    def f(text: str, **kw: Any) -> float:
        return float(text == "4")

    assert score(f, {"text": ["x", "y"]}) == [1.0, 0.0]


def test_token_ids_reach_per_sample_functions() -> None:
    def f(text: str, completion_ids: list[int]) -> int:
        return len(completion_ids)

    assert score(f, completion_ids=[[1], [2, 3]]) == [1.0, 2.0]
    with pytest.raises(RewardError, match=r"completion_ids.*give build_rewards a tokenizer"):
        score(f)


def test_params_partials_methods_and_objects() -> None:
    def base(text: str, *, bonus: float, factor: float = 1.0) -> float:
        return factor * bonus

    class Scorer:
        def __call__(self, completions: list[str], **kw: Any) -> list[float]:
            return [5.0] * len(completions)

        def one(self, text: str) -> float:
            return 6.0

    def answer_all(**kw: Any) -> list[float]:
        return [8.0 for _ in kw["completions"]]

    found = rewards(
        {"type": "custom", "params": {"function": base, "bonus": 3}},
        {"reward_function": functools.partial(base, bonus=4)},
        {"type": "custom", "params": {"reward_function": Scorer()}},
        Scorer().one,
        lambda text: 7,
        answer_all,
    )
    assert found.names == ("base", "base_2", "Scorer", "one", "lambda", "answer_all")
    assert [v[0] for v in found.score(PROMPTS, SAID).values] == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def test_coroutine_functions_run_together() -> None:
    import asyncio

    running: list[int] = []

    async def judge(text: str) -> float:
        running.append(1)
        await asyncio.sleep(0.01)
        together = len(running)
        await asyncio.sleep(0.01)
        running.pop()
        return float(together)

    async def batch(completions: list[str], **kw: Any) -> list[float]:
        await asyncio.sleep(0)
        return [9.0] * len(completions)

    async def inside_a_loop() -> Scores:
        return rewards(judge, batch).score(PROMPTS, SAID)

    assert rewards(judge, batch).score(PROMPTS, SAID).values == [[2.0, 2.0], [9.0, 9.0]]
    assert asyncio.run(inside_a_loop()).values[1] == [9.0, 9.0]


def test_arrays_and_tensors_are_numbers() -> None:
    import numpy as np
    import torch

    assert score(lambda completions, **kw: np.array([1, 2])) == [1.0, 2.0]
    assert score(lambda completions, **kw: torch.tensor([1.5, 2.5])) == [1.5, 2.5]
    assert score(lambda completions, **kw: (torch.tensor(1.5), np.float32(2))) == [1.5, 2.0]
    assert score(lambda text: text == "4") == [1.0, 0.0]


def test_weights_make_the_total() -> None:
    found = rewards(lambda text: 1, lambda text: float(text), weights=[2.0, -0.5])
    scores = found.score(PROMPTS, SAID)
    assert scores.values == [[1.0, 1.0], [4.0, 7.0]]
    assert scores.total == [0.0, -1.5]


# --- what is said when one fails -------------------------------------------------------------------------------------


def test_a_per_sample_function_that_raises_is_named_with_its_sample() -> None:
    def fragile(text: str) -> float:
        return 1 / (int(text) - 7)

    with pytest.raises(ZeroDivisionError) as caught:
        score(fragile)
    [note] = caught.value.__notes__
    assert 'reward "fragile" raised on sample 1' in note
    assert "'3+3?'" in note
    assert "'7'" in note


def test_a_batch_function_that_raises_is_named_with_its_sample() -> None:
    def fragile(completions: list[str], **kw: Any) -> list[float]:
        return [1 / (int(c) - 7) for c in completions]

    with pytest.raises(ZeroDivisionError) as caught:
        score(fragile)
    assert "sample 1 (prompt '3+3?', completion '7')" in caught.value.__notes__[0]

    def moody(completions: list[str], **kw: Any) -> list[float]:
        if len(completions) > 1:
            raise LookupError("too many")
        return [0.0]

    with pytest.raises(LookupError, match="too many") as other:
        score(moody)
    [note] = other.value.__notes__
    assert note.startswith('reward "moody" raised on a batch of 2: sample 0 (')
    assert "sample 1 (prompt '3+3?', completion '7')" in note

    with pytest.raises(LookupError) as long:
        rewards(moody).score(["q"] * 20, ["c"] * 20)
    assert "sample 7 (" in long.value.__notes__[0]
    assert "sample 8 (" not in long.value.__notes__[0]
    assert long.value.__notes__[0].endswith("and 12 more")


def test_a_coroutine_that_raises_is_named_with_its_sample() -> None:
    async def judge(text: str) -> float:
        return 1 / (int(text) - 7)

    with pytest.raises(ZeroDivisionError) as caught:
        score(judge)
    assert 'reward "judge" raised on sample 1' in caught.value.__notes__[0]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "1", [1.0], {}, 1j])
def test_what_is_no_finite_number_is_named(value: Any) -> None:
    def bad(text: str) -> Any:
        return value if text == "7" else 1.0

    def bad_batch(completions: list[str], **kw: Any) -> Any:
        return [1.0, value]

    for function in (bad, bad_batch):
        with pytest.raises(RewardError) as caught:
            score(function)
        assert (caught.value.reward, caught.value.sample) == (function.__name__, 1)
        assert f'reward "{function.__name__}" gave' in str(caught.value)
        assert "sample 1 (prompt '3+3?', completion '7')" in str(caught.value)


@pytest.mark.parametrize("value", [[1.0], [1.0] * 3, [], 1.0, None, {"a": 1, "b": 2}, "ab"])
def test_a_wrong_length_is_named(value: Any) -> None:
    def short(completions: list[str], **kw: Any) -> Any:
        return value

    with pytest.raises(RewardError, match=r'reward "short" returned .*must return') as caught:
        score(short)
    if isinstance(value, list):
        assert "sample 0 (prompt '2+2?'" in str(caught.value)


def test_long_texts_are_shortened_in_errors() -> None:
    found = rewards(lambda text: None)
    with pytest.raises(RewardError) as caught:
        found.score(["p" * 10_000], ["c" * 10_000])
    assert len(str(caught.value)) < 1000


def test_an_error_of_a_reward_survives_a_pickle() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(RewardError("message", "length", 3)))
    assert (str(error), error.reward, error.sample) == ("message", "length", 3)


def test_a_missing_column_is_named() -> None:
    def f(text: str, difficulty: int) -> float:
        return 1.0

    says = r'"f" needs difficulty, which the rows do not have; they have answer, prompt\. Map'
    with pytest.raises(RewardError, match=says):
        score(f, {"answer": ["4", "6"]})

    def g(completions: list[str], difficulty: list[int]) -> list[float]:
        return [1.0] * len(completions)

    state: dict[str, Any] = {"trainer_state": None, "log_metric": None}
    with pytest.raises(RewardError, match=says.replace('"f"', '"g"')):
        rewards(g).score(["q", "q"], ["4", "6"], {"answer": ["4", "6"]}, [[1], [2]], state)
    with pytest.raises(RewardError, match=r'"exact_answer" needs reference.*column_mapping'):
        score("exact_answer", {"level": [1, 2]})


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(RewardError, match="2 completions are to be scored, but answer has 1"):
        score(lambda text: 1, {"answer": ["4"]})


@pytest.mark.parametrize(
    "function",
    [len, lambda x: 1, lambda: 1, lambda reference, text: 1, lambda *args: 1],
    ids=["builtin", "x", "none", "reference first", "args"],
)
def test_a_function_whose_form_cannot_be_told_is_refused(function: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"A function of a batch starts with completions, prompts.*text, completion"
    ):
        rewards(function)


def test_an_object_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        rewards(object())


def test_rows_with_text_prompts_give_a_batch_function_texts() -> None:
    seen: list[Any] = []

    def lengths(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        seen.extend([prompts, completions])
        return [float(len(text.strip())) for text in completions]

    built = RewardSet(rewards(lengths).rewards, text_prompts=True)
    assert built.score(CHAT_PROMPTS, CHAT_SAID).values == [[1.0, 1.0]]
    assert seen == [PROMPTS, SAID]


def _by_attribute(completions: Any, **columns: Any) -> list[float]:
    return [float(completion[0]["content"]) for completion in completions]


_by_attribute.reward_reads = "messages"  # type: ignore[attr-defined]


class _Judge:
    reward_reads = "messages"

    def __call__(self, completions: Any, **columns: Any) -> list[float]:
        return _by_attribute(completions)

    @reads("messages")
    def method(self, completions: list[str], **columns: Any) -> list[float]:
        return _by_attribute(completions)

    def annotated(self, completions: list[Message], **columns: Any) -> list[float]:
        return _by_attribute(completions)


class Message(TypedDict):
    content: str


def _by_prompts(prompts: list[list[dict[str, str]]], completions: Any) -> list[float]:
    return [float(completion[0]["content"]) for completion in completions]


def _by_resolved_annotation(
    completions: Sequence[list[dict[str, str]]],
    other: Decimal | None = None,  # known to a type checker alone
) -> list[float]:
    return _by_attribute(completions)


@pytest.mark.parametrize(
    "function",
    [
        _by_attribute,
        _by_prompts,
        _by_resolved_annotation,
        functools.partial(_by_attribute, other=1),
        functools.partial(_by_prompts),
        _Judge(),
        _Judge().method,
        _Judge().annotated,
    ],
)
def test_a_function_that_says_it_reads_messages_gets_messages(function: Any) -> None:
    built = RewardSet(rewards(function).rewards, text_prompts=True)
    for _ in range(2):
        assert built.score(CHAT_PROMPTS, CHAT_SAID).values == [[4.0, 7.0]]


@pytest.mark.backend
def test_functions_of_trl_read_messages_where_prompts_are_texts() -> None:
    from trl.rewards import think_format_reward

    built = RewardSet(rewards(think_format_reward).rewards, text_prompts=True)
    said = [[{"role": "assistant", "content": c}] for c in ("<think>a</think>b", "b")]
    assert built.score(CHAT_PROMPTS, said).values == [[1.0, 0.0]]


@pytest.mark.parametrize(
    "annotation",
    ["list[str]", "Sequence[str]", "list", "Any", "list[Any]", "list[str] | list[list]", "Unknown"],
)
def test_other_annotations_mean_texts(annotation: str) -> None:
    space: dict[str, Any] = {"Any": Any, "Sequence": Sequence}
    code = f"def f(completions: {annotation!r}, **columns):\n    return [float(c) for c in completions]"
    exec(code, space)
    built = RewardSet(rewards(space["f"]).rewards, text_prompts=True)
    assert built.score(CHAT_PROMPTS, CHAT_SAID).values == [[4.0, 7.0]]


def test_the_decorator_goes_before_the_annotation() -> None:
    @reads("texts")
    def lengths(completions: list[list[dict[str, str]]]) -> list[float]:
        return [float(len(text)) for text in completions]

    built = RewardSet(rewards(lengths).rewards, text_prompts=True)
    assert built.score(CHAT_PROMPTS, [[{"role": "assistant", "content": "four"}]] * 2).values == [[4.0, 4.0]]


def test_a_form_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="reward_reads is 'tokens'; it must be \"texts\" or "):
        rewards(reads("tokens")(lambda completions: []))  # type: ignore[arg-type]


def test_a_function_that_raises_on_texts_is_told_how_to_get_messages() -> None:
    def wrong(completions: Any, **columns: Any) -> list[float]:
        return [completion.no_such_method() for completion in completions]

    built = RewardSet(rewards(wrong).rewards, text_prompts=True)
    with pytest.raises(AttributeError, match="'str' object has no attribute") as caught:
        built.score(CHAT_PROMPTS, CHAT_SAID)
    [note] = caught.value.__notes__
    assert 'reward "wrong" raised on a batch of 2: sample 0 (' in note
    assert 'reads("messages")' in note


# --- a judge that costs money is paid once ---------------------------------------------------------------------------


@pytest.mark.parametrize("text_prompts", [True, False])
@pytest.mark.parametrize("error", [TypeError, KeyError, AttributeError, IndexError, ValueError])
@pytest.mark.parametrize("form", [None, "texts", "messages"])
def test_a_batch_function_that_raises_is_called_once(
    error: type[Exception], text_prompts: bool, form: Any
) -> None:
    calls: list[int] = []

    def judge(completions: Any, **columns: Any) -> list[float]:
        calls.append(len(completions))
        raise error("the judge is out")

    built = RewardSet(rewards(reads(form)(judge) if form else judge).rewards, text_prompts=text_prompts)
    with pytest.raises(error, match="the judge is out"):
        built.score(CHAT_PROMPTS, CHAT_SAID)
    assert calls == [2]


def test_an_async_batch_function_that_raises_is_called_once() -> None:
    calls: list[int] = []

    async def judge(completions: Any, **columns: Any) -> list[float]:
        calls.append(len(completions))
        raise KeyError("the judge is out")

    built = RewardSet(rewards(judge).rewards, text_prompts=True)
    with pytest.raises(KeyError, match="the judge is out") as caught:
        built.score(CHAT_PROMPTS, CHAT_SAID)
    assert calls == [2]
    assert 'reward "judge" raised on a batch of 2: sample 0 (' in caught.value.__notes__[0]


@pytest.mark.parametrize("error", [TypeError, KeyError])
def test_a_per_sample_function_is_called_up_to_the_sample_it_raises_on(error: type[Exception]) -> None:
    calls: list[str] = []

    def judge(text: str) -> float:
        calls.append(text)
        if text == "7":
            raise error("the judge is out")
        return 1.0

    built = RewardSet(rewards(judge).rewards, text_prompts=True)
    with pytest.raises(error, match="the judge is out") as caught:
        built.score(["a", "b", "c"], ["4", "7", "8"])
    assert calls == ["4", "7"]
    assert 'reward "judge" raised on sample 1 (' in caught.value.__notes__[0]


@pytest.mark.parametrize("value", [None, [1.0], [1.0, None]])
def test_a_function_with_wrong_values_is_called_once(value: Any) -> None:
    calls: list[int] = []

    def judge(completions: Any, **columns: Any) -> Any:
        calls.append(len(completions))
        return value

    with pytest.raises(RewardError):
        RewardSet(rewards(judge).rewards, text_prompts=True).score(CHAT_PROMPTS, CHAT_SAID)
    assert calls == [2]
