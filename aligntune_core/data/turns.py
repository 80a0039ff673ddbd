"""Which part of a rendered conversation each reply of the assistant is.

Three ways, the first that can tell: the template's own marks (``{% generation %}``); the marks of the training template
that TRL ships for the same family, where both render the same text; and the conversation cut before and after each
reply, where the template renders the beginning of a conversation as it renders it within the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from aligntune_core.model.template import TRAINING, shipped

Messages = Sequence[Mapping[str, Any]]
Span = tuple[int, int]
"""Characters of a text: start, and end (exclusive)."""

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Two questions and answers: what a template makes of them shows whether it can be cut between turns.
_PROBE = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
    {"role": "assistant", "content": "Four."},
]


def has_marks(template: Any) -> bool:
    """Whether a template says which text is the assistant's (``{% generation %}``)."""
    return isinstance(template, str) and _GENERATION.search(template) is not None


def tells_turns(tokenizer: Any) -> bool:
    """Whether each reply of a conversation can be told apart."""
    if tokenizer is None or not isinstance(tokenizer.chat_template, str):
        return False
    if has_marks(tokenizer.chat_template):
        return True
    try:
        return spans(tokenizer, _PROBE, None) is not None
    except Exception:  # a template raises what it likes; that it refuses the probe says nothing of the rows
        return False


def spans(tokenizer: Any, messages: Messages, tools: Sequence[Any] | None) -> tuple[str, list[Span]] | None:
    """The rendered conversation, and the part of it that each of its replies is, in order.

    Args:
        tokenizer: with a chat template.
        messages: the conversation.
        tools: definitions of tools for the template, or None.

    Returns:
        tuple: text and one span a reply; None where the replies cannot be told apart.

    Raises:
        Exception: whatever the template raises for a conversation that it refuses.
    """
    replies = sum(message["role"] == "assistant" for message in messages)
    own = tokenizer.chat_template
    if has_marks(own):
        text, marks = _marked(tokenizer, own, messages, tools)
        if len(marks) == replies:
            return text, marks
    else:
        text = rendered(tokenizer, messages, tools)
        training = training_template(own)
        if training is not None:
            same, marks = _marked(tokenizer, training, messages, tools)
            if same == text and len(marks) == replies:
                return text, marks
    parts = _cut(tokenizer, messages, tools, text)
    return None if parts is None else (text, parts)


def rendered(
    tokenizer: Any, messages: Messages, tools: Sequence[Any] | None = None, generation: bool = False
) -> str:
    """A conversation as text; ``generation`` ends it with the start of a reply."""
    return str(
        tokenizer.apply_chat_template(
            list(messages), tools=tools, tokenize=False, add_generation_prompt=generation
        )
    )


def _marked(
    tokenizer: Any, template: str, messages: Messages, tools: Sequence[Any] | None
) -> tuple[str, list[Span]]:
    """The text that a template with marks renders, and what lies between them."""
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, marks = render_jinja_template(
        conversations=[list(messages)],
        tools=tools,
        chat_template=template,
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    return texts[0], [(start, end) for start, end in marks[0]]


def _cut(tokenizer: Any, messages: Messages, tools: Sequence[Any] | None, text: str) -> list[Span] | None:
    """The replies of a template that renders a beginning as it renders it within the whole; None for another."""
    parts = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        last = index == len(messages) - 1
        try:
            before = rendered(tokenizer, messages[:index], tools, generation=True)
            after = text if last else rendered(tokenizer, messages[: index + 1], tools)
        except (
            Exception
        ):  # the whole was rendered: this template refuses some beginnings, so it cannot be cut
            return None
        if not (text.startswith(before) and text.startswith(after) and len(before) < len(after)):
            return None
        parts.append((len(before), len(after)))
    return parts


@lru_cache(maxsize=8)
def training_template(template: str) -> str | None:
    """The template with marks that TRL ships for the same family; None where it has none, or is not installed."""
    for name, path in shipped().items():
        family = shipped().get(name.removesuffix(TRAINING))
        if family is None or not name.endswith(TRAINING):
            continue
        own = family.read_text(encoding="utf-8").strip()
        if template.strip().endswith(own):  # what comes before are values that were set for the run
            return template.strip().removesuffix(own) + path.read_text(encoding="utf-8")
    return None
