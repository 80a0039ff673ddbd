"""Each built-in reward on texts whose score is known by hand."""

from __future__ import annotations

import json
import math as maths
from typing import Any

import pytest

from aligntune_core.rewards.builtin.answers import exact_answer, math
from aligntune_core.rewards.builtin.formats import json_schema, regex, think_format, xml_tags
from aligntune_core.rewards.builtin.words import keyword, length, overlong, repetition
from aligntune_core.rewards.text import completion_text, final_answer, prompt_text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Paris.", "Paris"),
        ("<think>Is it <answer>Rome</answer>?</think> <answer> Paris </answer>", "Paris"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        (r"first \boxed{1}, then \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} and an unfinished \boxed{2", "1"),
        ("He has 3 * 4 = <<3*4=12>>12 eggs.\n#### 12", "12"),
        ("The answer is: 7.\nBye", "7"),
        ("Final answer: blue whale\n", "blue whale"),
        ("", ""),
    ],
)
def test_final_answer(text: str, answer: str) -> None:
    assert final_answer(text) == answer


def test_texts_of_messages() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    said: list[dict[str, Any]] = [
        {"role": "assistant", "content": blocks},
        {"role": "tool", "content": "5"},
        {"role": "assistant", "content": "c"},
    ]
    assert completion_text(said) == "ab\nc"
    asked: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None},
    ]
    assert prompt_text(asked) == "q"
    assert prompt_text("plain") == completion_text("plain") == "plain"


@pytest.mark.parametrize(
    ("text", "reference", "params", "score"),
    [
        ("The answer is  New   York.", "new york", {}, 1.0),
        ("New York", "new york", {"ignore_case": False}, 0.0),
        ("Boston", "New York", {}, 0.0),
        ("12", 12, {}, 1.0),
        ("#### 12", "sum\n#### 12", {}, 1.0),
        ("#### 12", "12", {"extract": False}, 0.0),
    ],
)
def test_exact_answer(text: str, reference: Any, params: dict[str, bool], score: float) -> None:
    assert exact_answer(text, reference, **params) == score


@pytest.mark.parametrize(
    ("text", "reference", "score"),
    [
        ("The answer is 0.5", "1/2", 1.0),
        (r"so \boxed{\frac{1}{2}}", "0.5", 1.0),
        (r"\frac{2}{4}", r"\frac12", 1.0),
        ("<answer>1+x</answer>", "$x+1$", 1.0),
        ("1,000", "1000", 1.0),
        ("x = 5", "5", 1.0),
        ("72 dollars", "72", 1.0),
        ("it costs $72", "72", 1.0),
        ("2^{10}", "1024", 1.0),
        ("2+x", "2", 0.0),
        ("(1,2)", "(2,1)", 0.0),
        ("48 + 24 = 72\n#### 72", "She sold 48+24 = 72 clips.\n#### 72", 1.0),
        ("71", "72", 0.0),
        ("no idea", "72", 0.0),
        ("", "72", 0.0),
        ("(B)", "(b)", 1.0),
        ("a dog", "a cat", 0.0),
        ("", "", 0.0),
    ],
)
def test_math(text: str, reference: str, score: float) -> None:
    assert math(text, reference) == score


def test_math_works_outside_the_main_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(math, "2/3", "0.25").result() == 0.0
        assert pool.submit(math, "2/8", "0.25").result() == 1.0


def test_regex() -> None:
    assert regex(" a\nb ", pattern="a.b") == 1.0
    assert regex("xab", pattern="ab") == 0.0
    assert regex("xab", pattern="ab", search=True) == 1.0


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("<think>a</think>\n<answer>b</answer>\n", 1.0),
        ("<think>a</think>\n<answer>b</answer> and more", 0.5),
        ("<answer>b</answer><think>a</think>", 0.5),
        ("<think>a</think><answer> </answer>", 0.25),
        ("<think>a<answer>b</answer>", 0.25),
        ("<answer>b</answer><answer>c</answer>", 0.0),
        ("", 0.0),
    ],
)
def test_xml_tags(text: str, score: float) -> None:
    assert xml_tags(text) == score


def test_xml_tags_take_other_tags_and_no_partial_credit() -> None:
    assert xml_tags("<plan>a</plan><code>b</code>", tags=("plan", "code")) == 1.0
    assert xml_tags("<plan>a</plan>", tags=("plan", "code"), partial=0) == 0.0


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("<think>hm</think> so 4", 1.0),
        ("hm</think> so 4", 0.0),
        ("<think>hm</think>", 0.0),
        ("<think> </think> so 4", 0.0),
        ("well <think>hm</think> so 4", 0.0),
        ("<think>a</think><think>b</think> c", 0.0),
    ],
)
def test_think_format(text: str, score: float) -> None:
    assert think_format(text) == score


def test_think_format_where_the_template_opens_the_tag() -> None:
    assert think_format("hm</think> so 4", opened_by_prompt=True) == 1.0
    assert think_format("so 4", opened_by_prompt=True) == 0.0


SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"age": 3}', 1.0),
        ('Here:\n```json\n{"age": 3}\n```', 1.0),
        ('<think>{"age": -1}</think>{"age": 3}', 1.0),
        ('{"age": -3}', 0.2),
        ('{"age": NaN}', 0.0),
        ("age: 3", 0.0),
        ("[" * 100_000, 0.0),
    ],
)
def test_json_schema(text: str, score: float) -> None:
    assert json_schema(text, schema=SCHEMA, invalid=0.2) == score


def test_json_alone() -> None:
    assert json_schema("[1, 2]") == 1.0
    assert json_schema("[1, 2") == 0.0


def test_json_schema_fetches_nothing() -> None:
    from referencing.exceptions import Unresolvable

    with pytest.raises(Unresolvable, match=r"example\.invalid"):
        json_schema("{}", schema={"$ref": "https://example.invalid/schema.json"})


@pytest.mark.parametrize(
    ("n", "score"), [(0, 0.0), (5, 0.5), (10, 1.0), (20, 1.0), (25, 0.75), (40, 0.0), (99, 0.0)]
)
def test_length(n: int, score: float) -> None:
    assert length("word " * n, min_length=10, max_length=20) == score
    assert length("x" * n, min_length=10, max_length=20, unit="characters") == score


@pytest.mark.parametrize("n", range(0, 131, 5))
def test_overlong_is_equation_13_of_dapo(n: int) -> None:
    longest, cache = 100, 20
    if n <= longest - cache:
        wanted = 0.0
    elif n <= longest:
        wanted = ((longest - cache) - n) / cache
    else:
        wanted = -1.0
    assert overlong("", [7] * n, max_completion_length=longest) == pytest.approx(wanted)
    assert overlong("", [7] * n, max_completion_length=longest, soft_punish_cache=cache) == pytest.approx(
        wanted
    )


@pytest.mark.backend
def test_overlong_equals_trl() -> None:
    from trl.rewards import get_soft_overlong_punishment

    theirs = get_soft_overlong_punishment(max_completion_len=64, soft_punish_cache=16)
    ids = [[1] * n for n in range(0, 80, 3)]
    ours = [overlong("", i, max_completion_length=64, soft_punish_cache=16) for i in ids]
    assert ours == pytest.approx(theirs(completion_ids=ids))


def test_repetition() -> None:
    assert repetition("a b c d e") == 0.0
    assert repetition("a b") == 0.0
    # "a a a a": the trigram (a, a, a) twice, one of them a repeat
    assert repetition("a A a a") == -0.5
    assert repetition("a a a", ngram_size=1, max_penalty=3) == pytest.approx(-2.0)


def test_keyword() -> None:
    text = "The cat sat on a mat."
    assert keyword(text, words=("CAT", "mat", "dog", "ca")) == 0.5
    assert keyword(text, words=("cat",), forbidden=("mat",)) == 0.0
    assert keyword(text, forbidden=("dog",)) == 1.0
    assert keyword(text, words=("Cat",), ignore_case=False) == 0.0
    assert keyword("C++ it is", words=("c++",)) == 1.0


def test_all_scores_are_finite_floats_on_odd_texts() -> None:
    odd = ["", " ", "\x00", "é" * 50, "<think>", "\\boxed{", "####", "```json", json.dumps({"a": [1, None]})]
    for text in odd:
        scores = [
            exact_answer(text, "x"),
            math(text, "1"),
            regex(text, pattern="x"),
            xml_tags(text),
            think_format(text),
            json_schema(text, schema=SCHEMA),
            length(text),
            overlong(text, [], max_completion_length=1),
            repetition(text),
            keyword(text, words=("x",)),
        ]
        assert all(type(s) is float and maths.isfinite(s) for s in scores), (text, scores)
