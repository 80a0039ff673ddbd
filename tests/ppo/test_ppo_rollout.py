"""Completions: padding, ends, limits; and that a model's own generation settings do not leak in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from aligntune_core.errors import RunError

CPU = torch.device("cpu")


@pytest.fixture
def sampler(words: Any, tmp_path: Any) -> Callable[..., Any]:
    def build(**arguments: Any) -> Any:
        from aligntune_trl.algorithms.ppo import PPOConfig
        from aligntune_trl.algorithms.ppo.rollout import Sampler

        settings: dict[str, Any] = {"max_completion_length": 5, **arguments}
        return Sampler(words, PPOConfig(output_dir=str(tmp_path), use_cpu=True, **settings), [2])

    return build


def test_completions_end_with_the_first_end_token(sampler: Callable[..., Any]) -> None:
    ids, mask = sampler().encode(["the cat", "dog"], CPU)
    found = sampler().complete(ids, mask, [torch.tensor([10, 2, 10, 2, 0]), torch.tensor([2, 0, 0, 0, 0])])
    assert found.texts == ["yes", ""]
    assert found.lengths.tolist() == [2, 1]
    assert found.finished.tolist() == [True, True]
    assert found.token_lists() == [[10, 2], [2]]
    assert found.mask.tolist() == [[True, True, False], [True, False, False]]
    assert found.state_mask.tolist() == [[True, True, True], [True, True, False]]


def test_prompts_are_padded_left_and_completions_right(sampler: Callable[..., Any]) -> None:
    ids, mask = sampler().encode(["the cat", "dog"], CPU)
    found = sampler().complete(ids, mask, [torch.tensor([10, 2, 0, 0, 0]), torch.tensor([11, 10, 4, 2, 0])])
    assert found.sequences.input_ids.tolist() == [[3, 4, 10, 2, 0, 0], [0, 5, 11, 10, 4, 2]]
    assert found.sequences.attention_mask.tolist() == [[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]]
    assert found.sequences.model_inputs()["position_ids"].tolist() == [[0, 1, 2, 3, 4, 4], [0, 0, 1, 2, 3, 4]]


def test_a_completion_at_the_limit_is_cut_off_and_has_no_state_after_it(sampler: Callable[..., Any]) -> None:
    ids, mask = sampler().encode(["dog", "cat"], CPU)
    found = sampler().complete(ids, mask, [torch.tensor([10, 3, 4, 5, 6]), torch.tensor([10, 3, 4, 5, 2])])
    assert found.finished.tolist() == [False, True]
    assert found.state_mask.shape == (2, 5)
    assert found.state_mask.equal(found.mask)


@pytest.mark.parametrize("arguments", [{"max_prompt_length": 3}, {"max_length": 8}])
def test_a_prompt_beyond_its_limit_is_refused(sampler: Callable[..., Any], arguments: dict[str, Any]) -> None:
    sampler(**arguments).encode(["the cat ran"], CPU)
    with pytest.raises(RunError, match="4 tokens, 3 are allowed"):
        sampler(**arguments).encode(["the cat ran up"], CPU)


def test_the_width_of_prompts_is_rounded_up(sampler: Callable[..., Any]) -> None:
    ids, mask = sampler(pad_to_multiple_of=4).encode(["the cat ran up down", "dog"], CPU)
    assert ids.shape == (2, 8)
    assert mask.sum(1).tolist() == [5, 1]


def test_messages_go_through_the_chat_template(sampler: Callable[..., Any], words: Any) -> None:
    words.chat_template = (
        "{{ bos_token }} {% for m in messages %}{{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}no{% endif %}"
    )
    try:
        ids, _ = sampler().encode([[{"role": "user", "content": "the cat"}]], CPU)
        again, _ = sampler().encode(
            [[{"role": "user", "content": "dog"}, {"role": "assistant", "content": "cat"}]], CPU
        )
    finally:
        words.chat_template = None
    assert words.convert_ids_to_tokens(ids[0]) == ["<s>", "the", "cat", "no"]
    assert words.convert_ids_to_tokens(again[0]) == ["<s>", "dog", "cat"]


def test_an_empty_prompt_is_refused(sampler: Callable[..., Any]) -> None:
    with pytest.raises(RunError, match="without a single token"):
        sampler().encode([""], CPU)


def test_the_models_own_generation_settings_do_not_shape_the_sample(
    sampler: Callable[..., Any], llama: Callable[..., Any], lora: Any
) -> None:
    prompts = ["the cat", "dog sat", "cat"] * 4
    for wrap in (lambda model: model, lora):
        found = []
        for own in ({}, {"repetition_penalty": 5.0, "min_new_tokens": 5, "no_repeat_ngram_size": 1}):
            model = wrap(llama()).eval()
            for name, value in own.items():
                setattr(model.generation_config, name, value)
            torch.manual_seed(0)
            with torch.no_grad():
                found.append(sampler().sample(model, prompts, CPU).token_lists())
            for name, value in own.items():
                assert getattr(model.generation_config, name) == value  # and they are put back
        assert found[0] == found[1]


def test_a_pad_token_that_ends_completions_too_is_kept_apart(
    sampler: Callable[..., Any], words: Any, llama: Callable[..., Any]
) -> None:
    from aligntune_trl.algorithms.ppo.value_head import completion_logprobs

    drawn = [torch.tensor([10, 4, 2, 2, 2]), torch.tensor([7, 2, 2, 2, 2])]
    found = []
    for pad in ("<pad>", "</s>"):
        words.pad_token = pad
        try:
            made = sampler()
            completions = made.complete(*made.encode(["the cat", "dog"], CPU), drawn)
        finally:
            words.pad_token = "<pad>"
        with torch.no_grad():
            logprobs = completion_logprobs(llama().eval(), completions.sequences, 1.0)
        assert completions.lengths.tolist() == [3, 2]
        found.append(logprobs.where(completions.mask, 0))
    assert found[0].equal(found[1])


def test_generation_in_parts_covers_every_row(sampler: Callable[..., Any], llama: Callable[..., Any]) -> None:
    with torch.no_grad():
        found = sampler(rollout_batch_size=2).sample(llama().eval(), ["the cat", "dog", "cat sat down"], CPU)
    assert len(found.texts) == len(found.lengths) == 3


def test_every_end_token_of_the_model_counts(words: Any, llama: Callable[..., Any]) -> None:
    from aligntune_trl.algorithms.ppo.rollout import end_tokens

    model = llama()
    model.generation_config.eos_token_id = [2, 11]
    assert end_tokens(model, words) == [2, 11]
    model.generation_config.eos_token_id = None
    assert end_tokens(model, words) == [2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_mini_batches": 3}, "nearest that do: 2 and 4"),
        ({"max_completion_length": 2000}, "no room for a prompt"),
        ({"generation_kwargs": {"num_beams": 2}}, "num_beams cannot be set"),
        ({"cliprange": 0.0}, "cliprange: got 0.0"),
        ({"lam": 1.5}, "lam: got 1.5"),
        ({"kl_estimator": "k2"}, "kl_estimator"),
        ({"remove_unused_columns": True}, "remove_unused_columns"),
        (
            {
                "load_best_model_at_end": True,
                "save_strategy": "steps",
                "eval_strategy": "steps",
                "eval_steps": 500,
            },
            "eval_reward",
        ),
    ],
)
def test_arguments_that_cannot_work_are_refused(
    tmp_path: Any, arguments: dict[str, Any], message: str
) -> None:
    from aligntune_core.errors import ConfigError
    from aligntune_trl.algorithms.ppo import PPOConfig

    with pytest.raises(ConfigError, match=message):
        PPOConfig(output_dir=str(tmp_path), use_cpu=True, **arguments)
