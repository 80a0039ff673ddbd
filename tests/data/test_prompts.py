"""What ``Trainer.generate`` takes for a prompt, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from aligntune_core.data.formats.prompts import as_prompts, check_sampling
from aligntune_core.errors import ConfigError, DataError

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
    check_sampling(1, 0, 1)
    with pytest.raises(ConfigError) as caught:
        check_sampling(0, -1, 2)
    assert [p.partition("=")[0] for p in caught.value.problems] == ["max_new_tokens", "temperature", "top_p"]
