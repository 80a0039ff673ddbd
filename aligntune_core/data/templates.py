"""The chat template: the tokenizer's own, or a stated plain one where it has none.

A base model's tokenizer often comes without a template. Libraries then fail or concatenate texts each in their way, so
the template is set on the tokenizer here: the library renders with it, the length check too, and it is saved with the
model, so generation uses it as well.
"""

from __future__ import annotations

from typing import Any

from aligntune_core.data.formats.base import RowProblem

_BOS = "{{ bos_token }}"

# The prompt's text on lines of its own; the reply ends with the end-of-sequence token. Speakers are not marked, so a
# conversation of several turns, or a system message and a user's, cannot be told apart in it: such rows are refused.
PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ message['content'] }}{{ '\\n' }}{% endif %}"
    "{% endfor %}"
)

# The marks that hh-rlhf dialogues have anyway.
DIALOGUE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '\\n\\nHuman: ' }}{{ message['content'] }}"
    "{% else %}{{ '\\n\\nAssistant: ' }}{{ message['content'] }}"
    "{% if loop.last and not add_generation_prompt %}{{ eos_token }}{% endif %}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)


def ensure_template(tokenizer: Any, dialogue: bool, given: str | None = None) -> str:
    """Give a tokenizer without a chat template a plain one, and say what the report says of it.

    ``dialogue``: the data marks its speakers with Human and Assistant.
    """
    if tokenizer is None:
        return "The backend brings its own tokenizer: rows were not measured."
    if given and not tokenizer.chat_template:
        tokenizer.chat_template = given
    if tokenizer.chat_template and not _ours(tokenizer):
        return "The chat template that was configured." if given else "The tokenizer's own chat template."
    template = DIALOGUE if dialogue else PLAIN
    tokenizer.chat_template = (_BOS if adds_bos(tokenizer) else "") + template
    if dialogue:
        return 'The tokenizer has no chat template: turns are written as "\\n\\nHuman: ..." and "\\n\\nAssistant: ...".'
    return (
        "The tokenizer has no chat template: the prompt is written on a line of its own, without naming the speaker, "
        "and the reply ends with the end-of-sequence token."
    )


def is_plain(tokenizer: Any) -> bool:
    """Whether conversations are rendered without naming the speakers."""
    return tokenizer is not None and tokenizer.chat_template in (PLAIN, _BOS + PLAIN)


def refuse_lost_roles(row: dict[str, Any]) -> None:
    """Raise ``RowProblem`` for a row that the plain template would flatten into one text without speakers."""
    for column in ("messages", "prompt", "completion", "chosen", "rejected"):
        messages, most = row.get(column, ()), 2 if column == "messages" else 1
        if len(messages) <= most:
            continue
        turns = [message for message in messages if message["role"] != "system"]
        if len(turns) < len(messages) and len(turns) <= most:
            what = "a system message before the user's"
            remedy = "use a model with a chat template, give one with chat_template=, or leave the system message out"
        else:
            what = "a conversation of several turns"
            remedy = "use a model with a chat template, or give one with chat_template="
        raise RowProblem(
            column, f"{what}, but the tokenizer has no chat template, so the speakers would be lost; {remedy}"
        )


def _ours(tokenizer: Any) -> bool:
    """Whether the template was set here, now or in the run that saved the tokenizer."""
    return tokenizer.chat_template in (PLAIN, _BOS + PLAIN, DIALOGUE, _BOS + DIALOGUE)


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer starts every text with its BOS token, as the model was pretrained with."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and bool(ids) and ids[0] == tokenizer.bos_token_id
