"""Canonical rows as tokens and loss masks, the way TRL makes them (1.14 and 1.16), without importing it.

TRL's rules, which the checks here must foresee: the completion starts where the tokens of the prompt alone and those
of prompt and completion part; SFT cuts at ``max_length`` and drops rows without a label; DPO drops rows whose prompt
fills ``max_length`` (keep_start) and cuts the others; reward training drops rows longer than ``max_length``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aligntune_core.data.rows import RowProblem

Messages = Sequence[dict[str, str]]


def render_conversations(
    tokenizer: Any, conversations: Sequence[Messages], generation: bool
) -> list[str | RowProblem]:
    """Each conversation as text; a ``RowProblem`` where the template refuses it.

    Args:
        tokenizer: with a chat template.
        conversations: message lists.
        generation: end with the start of a reply.
    """
    if not conversations:
        return []
    try:
        return list(
            tokenizer.apply_chat_template(
                list(conversations), tokenize=False, add_generation_prompt=generation
            )
        )
    except Exception:  # templates raise what they like; one at a time shows which conversation it was
        return [_render_one(tokenizer, conversation, generation) for conversation in conversations]


def _render_one(tokenizer: Any, conversation: Messages, generation: bool) -> str | RowProblem:
    try:
        return str(
            tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=generation)
        )
    except Exception as error:  # as above; the reason goes into the report of the row
        return RowProblem("", f"the chat template refuses it: {error}")


def encode(tokenizer: Any, texts: Sequence[str], special: bool = False) -> list[list[int]]:
    """Token ids of rendered texts (no special tokens added) or of plain ones (``special``)."""
    if not texts:
        return []
    encoded = tokenizer(
        list(texts),
        add_special_tokens=special,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return encoded["input_ids"]  # type: ignore[no-any-return]


def with_eos(tokenizer: Any, text: str) -> str:
    """Plain text as TRL trains on it: ended by the end-of-sequence token."""
    eos = tokenizer.eos_token or ""
    return text if text.endswith(eos) else text + eos


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def assistant_mask(tokenizer: Any, messages: Messages) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and 1 for each that is the assistant's."""
    found = tokenizer.apply_chat_template(
        messages,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        add_generation_prompt=False,
    )
    return list(found["input_ids"]), list(found["assistant_masks"])


def window(length: int, limit: int, mode: str) -> slice:
    """The part of a sequence that is left after truncation to ``limit``."""
    if length <= limit:
        return slice(0, length)
    return slice(0, limit) if mode == "keep_start" else slice(length - limit, length)


def unshared_prompt(tokenizer: Any, row: dict[str, Any]) -> str:
    """The end of a rendered prompt that is not there when a reply follows; "" where all of it is."""
    reply = next((row[side] for side in ("completion", "chosen") if side in row), None)
    if reply is None or not row.get("prompt"):
        return ""
    alone = render_conversations(tokenizer, [row["prompt"]], True)[0]
    whole = render_conversations(tokenizer, [[*row["prompt"], *reply]], False)[0]
    if isinstance(alone, RowProblem) or isinstance(whole, RowProblem):
        return ""
    prompt, both = encode(tokenizer, [alone, whole])
    return str(tokenizer.decode(prompt[shared_length(prompt, both) :]))
