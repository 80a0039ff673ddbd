"""The tokenizer's own work: conversations to text, texts to ids, parts of a text to a mask."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.turns import Span

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Any] | None
"""Definitions of tools, as chat templates take them."""


@dataclass(frozen=True)
class TokenSequence:
    """One token sequence of a row, before truncation.

    Attributes:
        ids: token ids.
        mask: whether the loss is on each of them.
        prompt: how many of the first are the prompt's, where the row has one: those that a reply leaves as they are.
        remark: why less is learnt than the row says, for the report; "" where all of it is.
    """

    ids: list[int]
    mask: list[bool]
    prompt: int = 0
    remark: str = ""


def after_prompt(prompt: Sequence[int], ids: list[int], loss_on_all: bool) -> TokenSequence:
    """A prompt and its answer as one sequence, with the loss on the answer or on all of it."""
    start = shared_length(prompt, ids)
    return from_start(ids, 0 if loss_on_all else start, start)


def from_start(ids: list[int], start: int, prompt: int = 0) -> TokenSequence:
    """A sequence with the loss from ``start`` on."""
    return TokenSequence(ids, [False] * start + [True] * (len(ids) - start), prompt)


def masked(tokenizer: Any, text: str, spans: Sequence[Span]) -> tuple[list[int], list[bool]]:
    """Token ids of a text, and which of them start within one of the spans."""
    if not tokenizer.is_fast:
        ids = encode(tokenizer, [text])[0]
        mask = [False] * len(ids)
        for start, end in spans:
            first, last = (shared_length(encode(tokenizer, [text[:at]])[0], ids) for at in (start, end))
            mask[first:last] = [True] * (last - first)
        return ids, mask
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    mask, rest, nowhere = [], iter(spans), (sys.maxsize, sys.maxsize)
    first, last = next(rest, nowhere)
    for start, end in encoded["offset_mapping"]:
        while start >= last:
            first, last = next(rest, nowhere)
        mask.append(start < end and end > first and start < last)
    return list(encoded["input_ids"]), mask


def render_conversations(
    tokenizer: Any, conversations: Sequence[Messages], generation: bool, tools: Sequence[Tools] = ()
) -> list[str | RowProblem]:
    """Each conversation as text; a ``RowProblem`` where the template refuses it."""

    def render(messages: Any, own: Tools) -> Any:
        return tokenizer.apply_chat_template(
            messages, tools=own, tokenize=False, add_generation_prompt=generation
        )

    def render_one(conversation: Messages, own: Tools) -> str | RowProblem:
        try:
            return str(render(conversation, own))
        except Exception as error:  # the reason goes into the report of the row
            return RowProblem("", f"the chat template refuses it: {error}")

    if any(tools):
        return list(map(render_one, conversations, tools))
    try:
        return list(render(list(conversations), None))
    except Exception:  # templates raise what they like; one at a time shows which conversation it was
        return [render_one(conversation, None) for conversation in conversations]


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


def shared_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many leading tokens, or characters, two sequences share."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def window(length: int, limit: int, mode: str) -> slice:
    """The part of a sequence that is left after truncation to ``limit``."""
    if length <= limit:
        return slice(0, length)
    return slice(0, limit) if mode == "keep_start" else slice(length - limit, length)
