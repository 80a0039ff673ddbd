"""What ``Trainer.generate`` takes for a prompt, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from aligntune_core.data.sampling import as_prompts, check_sampling
from aligntune_core.errors import ConfigError, DataError
from aligntune_core.types import Sampling

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ("hi", ["hi"]),
        (MESSAGES, [MESSAGES]),
        ([MESSAGES, "hi"], [MESSAGES, "hi"]),
        (("a", "b"), ["a", "b"]),
        ([], []),
    ],
)
def test_one_prompt_or_several(given: Any, prompts: list[Any]) -> None:
    assert as_prompts(given) == prompts


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "prompts: got int"),
        ({"role": "user", "content": "hi"}, "prompts: got dict"),
        (["a", None], r"prompt 1: missing \(None\)"),
        ([3], "prompt 0: 3 is an int, a list of messages was expected"),
        (
            [{"role": "usr", "content": "hi"}],
            r'prompt 0: message 0 has the unknown role .usr.\. Did you mean "user"',
        ),
    ],
)
def test_what_is_no_prompt_is_named(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        as_prompts(given)


def test_numbers_out_of_range_are_named_together() -> None:
    check_sampling(Sampling(max_new_tokens=1, temperature=0, top_p=1))
    check_sampling(Sampling(temperature=0.5, n=3, stop=("END",), seed=0))
    with pytest.raises(ConfigError) as caught:
        check_sampling(Sampling(max_new_tokens=0, temperature=-1, top_p=2, n=0, stop=("",), seed=-1))
    names = [problem.partition("=")[0] for problem in caught.value.problems]
    assert names == ["max_new_tokens", "temperature", "top_p", "n", "stop", "seed"]
    with pytest.raises(ConfigError, match="n=2 with temperature=0 would give equal completions"):
        check_sampling(Sampling(n=2))
