"""Which part of a conversation is learnt: every reply, told apart by the template or by cutting; weights; the last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.data import turns
from aligntune_core.data.tokens import sequences
from aligntune_core.errors import DataError
from aligntune_core.testing.tiny import CHAT_TEMPLATE, make_tokenizer

SYSTEM = {"role": "system", "content": "be kind"}
ASK, SAY = {"role": "user", "content": "hi there"}, {"role": "assistant", "content": "hello you"}
ASK2, SAY2 = {"role": "user", "content": "and the river?"}, {"role": "assistant", "content": "the Elbe"}
TALK = [ASK, SAY, ASK2, SAY2]

MARKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Nothing says who speaks, so no frame stands around replies.
BARE = "{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"
# Says how many messages there are, so no beginning of a conversation is rendered as it is within the whole.
COUNTS = "{{ messages | length }}:" + BARE
# Ends what is short with another mark, so no beginning up to a reply is rendered as it is within the whole.
SHORT = BARE + "{% if messages | length < 4 and not add_generation_prompt %}!{% endif %}"
# Cuts what was thought out of a reply, as templates of reasoning models do.
THINKS = (
    "{% for m in messages %}{% set c = m['content'] %}{% if m['role'] == 'assistant' and '</think>' in c %}"
    "{% set c = c.split('</think>')[-1] %}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + c + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def shipped(name: str) -> str:
    trl = pytest.importorskip("trl")
    path = Path(trl.__file__).with_name("chat_templates") / f"{name}.jinja"
    if not path.is_file():
        pytest.skip(f"this TRL ships no template {name}")
    return path.read_text(encoding="utf-8")


def learnt(messages: list[dict[str, Any]], template: str, tools: Any = None) -> list[str]:
    """The runs of tokens with loss, as text."""
    tokenizer = make_tokenizer(template)
    tokenizer.add_special_tokens(
        {"bos_token": "<|endoftext|>", "additional_special_tokens": ["<|end|>", "<|user|>"]}
    )
    row = {"messages": messages, "tools": json.dumps(tools) if tools else None}
    answer = sequences([row], "assistant", tokenizer)[0]
    assert isinstance(answer, dict), answer
    runs: list[list[int]] = []
    before = False
    for token, on in zip(answer["row"].ids, answer["row"].mask, strict=True):
        if on and not before:
            runs.append([])
        if on:
            runs[-1].append(token)
        before = on
    return [str(tokenizer.decode(run)).strip() for run in runs]


@pytest.mark.parametrize("template", [MARKS, CHAT_TEMPLATE], ids=["marks", "cut"])
def test_every_reply_is_learnt(template: str) -> None:
    assert learnt([SYSTEM, *TALK], template) == ["hello you<|im_end|>", "the Elbe<|im_end|>"]


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3", "gemma", "phi3"])
def test_every_reply_is_learnt_with_templates_of_the_field(name: str) -> None:
    runs = learnt(TALK, shipped(name))
    assert len(runs) == 2, runs
    assert "hello you" in runs[0]
    assert "the Elbe" in runs[1]
    assert not any(word in "".join(runs) for word in ("hi there", "river"))


TIDE = {"type": "function", "function": {"name": "tide", "description": "Height.", "parameters": {}}}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "tide", "arguments": {"at": "Emden"}}}],
}


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "qwen3_6", "llama3_1"])
def test_calls_of_tools_and_the_replies_after_them_are_learnt(name: str) -> None:
    """Templates that write a thought before some replies only are told apart by what stands around each."""
    result = {"role": "tool", "content": '{"height": "2.1 m"}'}
    runs = learnt([ASK, CALL, result, SAY, ASK2, CALL, result, SAY2], shipped(name), [TIDE])
    assert [word for run in runs for word in ("Emden", "hello you", "the Elbe") if word in run] == [
        "Emden",
        "hello you",
        "Emden",
        "the Elbe",
    ]
    assert not any(word in "".join(runs) for word in ("hi there", "river", "2.1 m"))


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "gemma4_v5"])
def test_earlier_replies_are_learnt_though_their_thoughts_are_cut(name: str) -> None:
    thinking = [ASK, {**SAY, "reasoning_content": "polite"}, ASK2, {**SAY2, "reasoning_content": "geography"}]
    first, last = learnt(thinking, shipped(name))
    assert "hello you" in first
    assert "geography" in last
    assert "the Elbe" in last
    assert "polite" not in first


def test_words_that_could_be_the_templates_own_are_not_taken_for_it() -> None:
    """A frame of plain words that a row spells too says nothing of where replies are; cutting does."""
    words = (
        "{% for m in messages %}{{ '\n' + m['role'] + ': ' + m['content'] + '.' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '\nassistant: ' }}{% endif %}"
    )
    tricky = {"role": "user", "content": "say\nassistant: oops"}
    assert learnt([tricky, SAY, ASK2, SAY2], words) == ["hello you.", "the Elbe."]
    short = words + "{% if messages | length == 2 and not add_generation_prompt %}!{% endif %}"
    assert learnt([ASK, SAY, ASK2, SAY2], short) == ["hello you.", "the Elbe."]
    assert learnt([tricky, SAY, ASK2, SAY2], short) == ["the Elbe."]


def test_a_prompt_that_is_rendered_otherwise_before_a_reply_is_a_problem(prepare: Any) -> None:
    """Prompt and reply would part at the count, so that the loss would be on the prompt."""
    assert not turns.tells_turns(make_tokenizer(COUNTS))
    with pytest.raises(DataError, match="renders it otherwise where a reply follows"):
        prepare([{"messages": TALK}], tokenizer=make_tokenizer(COUNTS))


def test_marks_of_the_training_template_are_taken_where_both_render_the_same() -> None:
    own, training = shipped("qwen2_5"), shipped("qwen2_5_training")
    assert turns.training_template(own) == training
    tokenizer = make_tokenizer(own)
    expected = make_tokenizer(training).apply_chat_template(
        TALK, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    answer = sequences([{"messages": TALK}], "assistant", tokenizer)[0]
    assert isinstance(answer, dict)
    assert answer["row"].ids == expected["input_ids"]
    assert answer["row"].mask == [bool(bit) for bit in expected["assistant_masks"]]


@pytest.mark.parametrize("template", [MARKS, CHAT_TEMPLATE], ids=["marks", "cut"])
def test_a_reply_of_weight_0_is_not_learnt(template: str) -> None:
    assert learnt([ASK, {**SAY, "weight": 0}, ASK2, SAY2], template) == ["the Elbe<|im_end|>"]
    assert learnt([ASK, SAY, ASK2, {**SAY2, "weight": 0}], template) == ["hello you<|im_end|>"]


@pytest.mark.parametrize("template", [MARKS, CHAT_TEMPLATE], ids=["marks", "cut"])
def test_two_replies_in_a_row_are_told_apart(template: str) -> None:
    assert learnt([ASK, {**SAY, "weight": 0}, SAY2], template) == ["the Elbe<|im_end|>"]


def test_a_template_that_cannot_be_cut_leaves_the_last_reply_and_says_so(prepare: Any) -> None:
    assert not turns.tells_turns(make_tokenizer(SHORT))
    data = prepare([{"messages": TALK}], tokenizer=make_tokenizer(SHORT))
    assert data.train[0]["completion"] == [SAY2]
    assert any("last turn of the assistant only" in sentence for sentence in data.report.warnings)


def test_some_rows_that_cannot_be_cut_are_counted(prepare: Any) -> None:
    # Renders every conversation but those of six messages as a beginning of the whole.
    template = BARE + "{% if messages | length == 4 and messages[1]['content'] == 'hello you' %}!{% endif %}"
    data = prepare([{"messages": TALK}, {"messages": [*TALK, ASK, SAY]}], tokenizer=make_tokenizer(template))
    assert any(s.startswith("1 rows: The chat template does not show") for s in data.report.warnings)


def test_train_on(prepare: Any) -> None:
    rows = [{"messages": [ASK, {**SAY, "weight": 1}, ASK2, SAY2]}]
    every, last, marked = (prepare(rows, train_on=value) for value in ("all", "last", "marked"))
    assert every.report.loss == marked.report.loss == "assistant"
    assert last.train[0]["completion"] == [SAY2]
    assert [m.get("weight") for m in marked.train[0]["messages"]] == [None, 1, None, 0]
    with pytest.raises(DataError, match="every reply has weight 0"):
        prepare([{"messages": TALK}], train_on="marked")


def test_weight_0_contradicts_a_loss_on_everything(prepare: Any) -> None:
    with pytest.raises(DataError, match="weight 0, but completion_only_loss=False learns every token"):
        prepare([{"messages": [ASK, {**SAY, "weight": 0}, ASK2, SAY2]}], completion_only_loss=False)


def test_every_reply_of_a_stream_is_learnt_though_its_first_rows_have_one_each(prepare: Any) -> None:
    rows = [{"messages": [ASK, SAY]} for _ in range(120)]
    data = prepare([*rows, {"messages": TALK}], streaming=True, max_steps=1)
    assert list(data.train)[-1]["messages"] == TALK
    assert data.report.loss == "assistant"


def test_a_lone_reply_of_weight_0_is_no_row_to_learn_from(prepare: Any) -> None:
    with pytest.raises(DataError, match="its weight is 0"):
        prepare([{"messages": [ASK, {**SAY, "weight": 0}]}])


# --- what a template leaves out --------------------------------------------------------------------------------------


def test_a_last_reply_that_the_template_cuts_is_a_problem(prepare: Any) -> None:
    row = {"messages": [ASK, {"role": "assistant", "content": "<think>why</think>because"}]}
    with pytest.raises(DataError, match="leaves out the text of the assistant"):
        prepare([row], tokenizer=make_tokenizer(THINKS))


def test_an_earlier_reply_that_the_template_cuts_is_said(prepare: Any) -> None:
    first = {"role": "assistant", "content": "<think>why</think>because"}
    data = prepare([{"messages": [ASK, first, ASK2, SAY2]}], tokenizer=make_tokenizer(THINKS))
    assert any("leaves out the reasoning of earlier replies" in sentence for sentence in data.report.warnings)


LFM2, LLAMA31 = "lfm2", "llama3_1"


@pytest.mark.parametrize(
    ("name", "message", "what"),
    [
        (LFM2, CALL, "call of the tool of the assistant"),
        (LLAMA31, {**CALL, "content": "let me look"}, "text of the assistant"),
    ],
)
def test_what_an_earlier_reply_says_or_calls_is_not_left_out(
    name: str, message: dict[str, Any], what: str
) -> None:
    """Only reasoning may go: LFM 2 writes no calls, and Llama 3.1 no text beside one."""
    tokenizer = make_tokenizer(shipped(name))
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    row = {"messages": [ASK, message, {"role": "tool", "content": "2.1"}, SAY], "tools": json.dumps([TIDE])}
    answer = sequences([row], "assistant", tokenizer)[0]
    assert what in str(answer)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qwen3", "<think>why</think>because"),
        ("qwen3_5_think", "<think>\nwhy\n</think>\n\nbecause"),
        ("nemotron_3_nano", "<think>\nwhy\n</think>because"),
    ],
)
def test_white_space_around_thoughts_may_go_and_generation_may_start_with_their_mark(
    prepare: Any, name: str, content: str
) -> None:
    row = {"messages": [ASK, {"role": "assistant", "content": content}]}
    assert prepare([row], tokenizer=make_tokenizer(shipped(name))).report.warnings == ()


def test_both_answers_of_a_pair_are_checked(prepare: Any) -> None:
    row = {"prompt": "p", "chosen": "fine", "rejected": "<think>why</think>bad"}
    with pytest.raises(DataError, match='column "rejected": the chat template leaves out'):
        prepare([row], "dpo", tokenizer=make_tokenizer(THINKS))


def test_a_system_message_that_the_template_drops_is_a_problem(prepare: Any) -> None:
    template = CHAT_TEMPLATE.replace(
        "message in messages", "message in messages if message['role'] != 'system'"
    )
    with pytest.raises(DataError, match="leaves out the text of the system"):
        prepare([{"messages": [SYSTEM, ASK, SAY]}], tokenizer=make_tokenizer(template))


def test_reasoning_and_calls_reach_the_template() -> None:
    think = {**SAY2, "reasoning_content": "which one?"}
    runs = learnt([ASK2, think], shipped("qwen3"))
    assert "which one?" in runs[0]
    assert "the Elbe" in runs[0]
    call = {"type": "function", "function": {"name": "tide", "arguments": {"at": "Emden"}}}
    definition = {
        "type": "function",
        "function": {"name": "tide", "description": "Height.", "parameters": {}},
    }
    talk: list[dict[str, Any]] = [
        ASK,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "2.1"},
        SAY,
    ]
    runs = learnt(talk, shipped("qwen2_5"), [definition])
    assert "Emden" in runs[0]
    assert "hello you" in runs[1]
    assert "2.1" not in "".join(runs)


def test_reasoning_that_the_template_does_not_write_is_a_problem(prepare: Any) -> None:
    row = {"messages": [ASK, {**SAY, "reasoning_content": "which one?"}]}
    with pytest.raises(DataError, match="leaves out the reasoning_content of the assistant"):
        prepare([row])


def test_tools_go_to_the_template_or_are_a_problem(prepare: Any) -> None:
    tools = [{"type": "function", "function": {"name": "tide", "parameters": {}}}]
    data = prepare(
        [{"messages": [ASK, SAY], "tools": json.dumps(tools)}], tokenizer=make_tokenizer(shipped("qwen2_5"))
    )
    assert json.loads(data.train[0]["tools"]) == tools
    with pytest.raises(DataError, match="does not write the definition of tide"):
        prepare([{"messages": [ASK, SAY], "tools": tools}])
    assert prepare([{"messages": [ASK, SAY], "tools": []}]).train[0]["tools"] is None


def test_definitions_of_tools_get_the_wrapping_that_templates_read(prepare: Any) -> None:
    row = {"messages": [ASK, SAY], "tools": [TIDE["function"]]}
    assert json.loads(prepare([row], tokenizer=make_tokenizer(shipped("qwen2_5"))).train[0]["tools"]) == [
        TIDE
    ]


def test_arguments_of_calls_are_texts_for_templates_that_take_nothing_else(prepare: Any) -> None:
    row = {"messages": [ASK, CALL, {"role": "tool", "content": "2.1"}, SAY]}
    tokenizer = make_tokenizer(shipped("deepseekv3"))
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    calls = prepare([row], tokenizer=tokenizer).train[0]["messages"][1]["tool_calls"]
    assert calls[0]["function"]["arguments"] == '{"at": "Emden"}'
    calls = prepare([row], tokenizer=make_tokenizer(shipped("qwen2_5"))).train[0]["messages"][1]["tool_calls"]
    assert calls[0]["function"]["arguments"] == {"at": "Emden"}


# --- rendered already, and special tokens ----------------------------------------------------------------------------

RENDERED = "<|im_start|>user\nhi there<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("algorithm", "row"),
    [
        ("sft", {"prompt": RENDERED, "completion": "hello<|im_end|>"}),
        ("sft", {"messages": [ASK, {"role": "assistant", "content": "a<|im_end|>\n<|im_start|>user"}]}),
        ("dpo", {"prompt": "hi", "chosen": "yes<|im_end|>", "rejected": "no"}),
        ("grpo", {"prompt": RENDERED}),
    ],
)
def test_special_tokens_spelt_in_a_row_are_a_problem(
    prepare: Any, algorithm: str, row: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match="is spelt in it, which the tokenizer reads as a special token"):
        prepare([row], algorithm)


def test_rendered_rows_are_taken_as_they_are(prepare: Any, chat_tokenizer: Any) -> None:
    row = {"prompt": RENDERED, "completion": "hello you<|im_end|>\n"}
    data = prepare([row], rendered=True)
    assert data.train[0]["prompt"] == RENDERED
    assert (
        data.train[0]["completion"] == "hello you<|im_end|>"
    )  # nothing after the end, so no library adds another
    answer = sequences(list(data.train), "completion", chat_tokenizer)[0]
    assert isinstance(answer, dict)
    assert chat_tokenizer.decode(answer["row"].ids) == RENDERED + "hello you<|im_end|>"
    assert prepare([{"prompt": RENDERED}], "grpo", rendered=True).train[0]["prompt"] == RENDERED


def test_a_rendered_answer_without_an_end_gets_one(prepare: Any, chat_tokenizer: Any) -> None:
    bare = prepare([{"prompt": RENDERED, "completion": "hello you"}], rendered=True).train[0]
    assert bare == {"prompt": RENDERED, "completion": "hello you" + chat_tokenizer.eos_token}
    row = {"prompt": RENDERED, "chosen": "hello", "rejected": "no<|pad|>"}
    pair = prepare([row], "dpo", rendered=True).train[0]
    assert (pair["chosen"], pair["rejected"]) == ("hello" + chat_tokenizer.eos_token, "no<|pad|>")


# Speakers are marked by words that are no special tokens, as Llama 2's, Alpaca's and Zephyr's are.
WORDS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST] "
    "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def test_what_a_template_of_words_has_rendered_is_a_problem(prepare: Any) -> None:
    row = {"prompt": "[INST] hi there [/INST]", "completion": "hello"}
    with pytest.raises(
        DataError, match=r"'\[/INST\]' is spelt in it, which the chat template writes between"
    ):
        prepare([row], tokenizer=make_tokenizer(WORDS))
    data = prepare([row], tokenizer=make_tokenizer(WORDS), rendered=True)
    assert data.train[0]["prompt"] == row["prompt"]
    assert prepare([{"prompt": "what is [INST]?", "completion": "a mark"}], tokenizer=make_tokenizer(WORDS))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "[INST] hi there [/INST]", "completion": "hello"},
        {"text": "<start_of_turn>user\nhi there<end_of_turn>\n<start_of_turn>model\nhello<end_of_turn>"},
        {"messages": [SYSTEM, {"role": "user", "content": "<|start_header_id|>user\nhi"}, SAY, ASK2, SAY2]},
    ],
)
def test_marks_of_other_templates_are_said(prepare: Any, row: dict[str, Any]) -> None:
    warnings = prepare([row]).report.warnings
    assert any("a mark of chat templates, which this tokenizer reads as plain text" in w for w in warnings)


def test_rendered_is_not_for_messages(prepare: Any) -> None:
    with pytest.raises(DataError, match="lists of messages, which the template renders"):
        prepare([{"messages": TALK}], rendered=True)
    with pytest.raises(DataError, match="rendered=True takes one text"):
        prepare([{"prompt": [SYSTEM, ASK], "completion": "yes"}], rendered=True)


def test_plain_text_that_was_rendered_gets_no_second_end(prepare: Any, chat_tokenizer: Any) -> None:
    text = RENDERED + "hello<|im_end|>\n"
    data = prepare([{"text": text}, {"text": "a plain text"}])
    assert any("was rendered already" in sentence for sentence in data.report.warnings)
    first, second = sequences(list(data.train), "all", chat_tokenizer)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert chat_tokenizer.decode(first["row"].ids) == text
    assert chat_tokenizer.decode(second["row"].ids) == "a plain text" + chat_tokenizer.eos_token
    assert not prepare([{"text": text}], rendered=True).report.warnings


def test_special_tokens_of_the_users_own_may_be_spelt(prepare: Any) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<tool>"], special_tokens=True)
    data = prepare(
        [{"prompt": "call <tool>", "completion": "<tool> it"}, {"prompt": "p", "completion": "c"}],
        tokenizer=tokenizer,
    )
    assert data.train[0]["completion"][0]["content"] == "<tool> it"
    report = prepare([{"text": "a <tool> text"}], tokenizer=tokenizer).report
    assert report.warnings == ()


def test_marks_that_a_template_puts_together_are_known(prepare: Any) -> None:
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token }}{% endfor %}"
    )
    tokenizer.add_tokens(["<|user|>", "<|assistant|>"], special_tokens=True)
    with pytest.raises(DataError, match=r"<.user.> is spelt in it"):
        prepare([{"prompt": "<|user|>hi", "completion": "c"}], tokenizer=tokenizer)
