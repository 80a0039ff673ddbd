"""Tokenizers without a chat template, and templates that refuse."""

from __future__ import annotations

from typing import Any

import pytest

from aligntune_core.algorithms import find
from aligntune_core.config import resolve_config
from aligntune_core.config.resolve.resolution import resolve
from aligntune_core.data import BadRows, render
from aligntune_core.testing.tiny import make_tokenizer
from aligntune_core.types import Device

ROWS = [{"prompt": "2 and 3", "completion": "five"}]


def rendered(data: Any, tokenizer: Any, algorithm: str = "sft", **keywords: Any) -> list[tuple[str, bool]]:
    kind = "sft" if algorithm == "sft" else "rl"
    extra = {} if algorithm == "sft" else {"algorithm": algorithm}
    config = resolve_config(kind, model_name="m", dataset_name="d", **extra, **keywords)
    return render(data.train[0], find(algorithm), tokenizer, resolve(config, Device(kind="cpu")))


def test_plain_template_is_stated_set_and_rendered(prepare: Any, base_tokenizer: Any) -> None:
    data = prepare(ROWS, tokenizer=base_tokenizer)
    assert "no chat template" in data.report.template
    assert rendered(data, base_tokenizer) == [("2 and 3\n", False), ("five<|endoftext|>", True)]


def test_plain_template_starts_with_the_bos_token_where_the_tokenizer_adds_it(prepare: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(None)
    tokenizer.bos_token = "<|im_start|>"
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)]
    )
    assert tokenizer("a")["input_ids"][0] == bos
    data = prepare(ROWS, tokenizer=tokenizer)
    assert rendered(data, tokenizer)[0] == ("<|im_start|>2 and 3\n", False)


def test_plain_template_of_an_earlier_run_is_known_again(prepare: Any, base_tokenizer: Any) -> None:
    prepare(ROWS, tokenizer=base_tokenizer)
    again = prepare(ROWS, tokenizer=base_tokenizer)
    assert "no chat template" in again.report.template
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    with pytest.raises(BadRows, match="speakers would be lost"):
        prepare([{"messages": turns}], tokenizer=base_tokenizer)


def test_several_turns_without_a_template_are_refused_with_a_remedy(
    prepare: Any, base_tokenizer: Any
) -> None:
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    with pytest.raises(BadRows, match="chat_template="):
        prepare([{"messages": turns}], tokenizer=base_tokenizer)


@pytest.mark.parametrize(
    ("rows", "algorithm", "column", "keywords"),
    [
        (ROWS, "sft", "prompt", {"system_prompt": "add"}),
        ([{**ROWS[0], "system": "add"}], "sft", "prompt", {}),
        (ROWS, "sft", "messages", {"system_prompt": "add", "completion_only_loss": False}),
        ([{"prompt": "p", "chosen": "a", "rejected": "b"}], "dpo", "prompt", {"system_prompt": "add"}),
        ([{"prompt": "p"}], "grpo", "prompt", {"system_prompt": "add"}),
    ],
)
def test_a_system_message_without_a_template_is_refused_with_a_remedy(
    prepare: Any, base_tokenizer: Any, rows: Any, algorithm: str, column: str, keywords: dict[str, Any]
) -> None:
    if column == "messages":
        rows = [
            {"messages": [{"role": "user", "content": "2 and 3"}, {"role": "assistant", "content": "five"}]}
        ]
    with pytest.raises(
        BadRows, match=r"speakers would be lost; .* or leave the system message out"
    ) as caught:
        prepare(rows, algorithm, tokenizer=base_tokenizer, **keywords)
    (bad,) = caught.value.rows
    assert bad.column == column


def test_a_lone_system_message_has_no_speaker_to_lose(prepare: Any, base_tokenizer: Any) -> None:
    lone = [{"role": "system", "content": "count"}, {"role": "assistant", "content": "one two"}]
    data = prepare([{"messages": lone}], tokenizer=base_tokenizer)
    assert rendered(data, base_tokenizer)[0] == ("count\n", False)


def test_dialogues_keep_their_own_marks_without_a_template(prepare: Any, base_tokenizer: Any) -> None:
    start = "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nAssistant:"
    data = prepare([{"chosen": start + " yes", "rejected": start + " no"}], "dpo", tokenizer=base_tokenizer)
    pieces = rendered(data, base_tokenizer, "dpo")
    assert pieces[:3] == [("[chosen]\n", False), (start, False), (" yes<|endoftext|>", True)]
    assert pieces[-1] == (" no<|endoftext|>", True)
    assert "Human" in data.report.template


def test_configured_template_wins_over_the_plain_one(prepare: Any, base_tokenizer: Any) -> None:
    template = "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}{% endfor %}"
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    data = prepare([{"messages": turns}], tokenizer=base_tokenizer, chat_template=template)
    assert base_tokenizer.chat_template == template
    assert rendered(data, base_tokenizer)[-1] == ("[assistant]x", True)


def test_a_template_that_refuses_a_conversation_names_the_row(prepare: Any) -> None:
    strict = (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}{{ message['content'] }}{% endfor %}"
    )
    rows = [
        *ROWS,
        {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "completion": "c"},
    ]
    with pytest.raises(BadRows) as caught:
        prepare(rows, tokenizer=make_tokenizer(strict))
    (bad,) = caught.value.rows
    assert bad.place == "row 1"
    assert "no system role" in bad.reason


def test_a_template_whose_prompt_differs_is_said(prepare: Any) -> None:
    thinking = (
        "{% for message in messages %}{{ message['content'] }}|{% endfor %}"
        "{% if add_generation_prompt %}<think></think>{% endif %}"
    )
    data = prepare(ROWS, tokenizer=make_tokenizer(thinking))
    assert any("differs from the one at inference" in sentence for sentence in data.report.saw)
    plain = prepare(ROWS)
    assert not any("differs from the one at inference" in sentence for sentence in plain.report.saw)


def test_render_shows_truncation_and_loss(prepare: Any, chat_tokenizer: Any) -> None:
    rows = [{"prompt": "say the words", "completion": "one two three four five six seven eight nine"}]
    data = prepare(rows)
    whole = rendered(data, chat_tokenizer)
    assert whole == [
        ("<|im_start|>user\nsay the words<|im_end|>\n<|im_start|>assistant\n", False),
        ("one two three four five six seven eight nine<|im_end|>\n", True),
    ]
    cut = rendered(data, chat_tokenizer, max_seq_length=20)
    assert cut[0] == whole[0]
    assert whole[1][0].startswith(cut[1][0])
    assert len(cut[1][0]) < len(whole[1][0])
    end = rendered(data, chat_tokenizer, max_seq_length=12, truncation_mode="keep_end")
    assert end == [(end[0][0], True)]
    assert whole[1][0].endswith(end[0][0])
    assert rendered(data, chat_tokenizer, completion_only_loss=False) == [(whole[0][0] + whole[1][0], True)]


def test_render_is_a_function_whatever_was_imported_before() -> None:
    import aligntune_core.data
    from aligntune_core.data import render_sequences

    assert callable(render_sequences)
    assert callable(aligntune_core.data.render)
