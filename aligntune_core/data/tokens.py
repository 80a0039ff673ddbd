"""Canonical rows as tokens and loss masks, from the chat template: the one way in which core tokenises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.types import LossOn

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class TokenSequence:
    """One token sequence of a row, before truncation.

    Attributes:
        ids: token ids.
        mask: whether the loss is on each of them.
        prompt: how many of the first are the prompt's, where the row has one: those that a reply leaves as they are.
    """

    ids: list[int]
    mask: list[bool]
    prompt: int = 0


def sequences(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, tokenizer: Any
) -> list[dict[str, TokenSequence] | RowProblem]:
    """Canonical rows of one kind as the model will see them.

    The completion starts where the tokens of the prompt alone and those of prompt and completion part, which is not
    always after the prompt. Plain text ends with the end-of-sequence token.

    Args:
        rows: canonical rows, all with the same columns.
        loss: where their loss is.
        tokenizer: with a chat template, if the rows are conversations.

    Returns:
        list: for each row its sequences by name: "chosen" and "rejected", or a single one, "row"; or a ``RowProblem``
        where the chat template refuses it.
    """
    if not rows:
        return []
    if "text" in rows[0]:
        texts = [with_eos(tokenizer, row["text"]) for row in rows]
        return [_named("row", ids, 0, True) for ids in encode(tokenizer, texts, special=True)]
    if loss == "assistant":
        return [_turns(row["messages"], tokenizer) for row in rows]
    if "messages" in rows[0]:
        return [
            ids if isinstance(ids, RowProblem) else _named("row", ids, 0, True)
            for ids in encode_conversations(tokenizer, [row["messages"] for row in rows], False)
        ]
    prompts = encode_conversations(tokenizer, [row["prompt"] for row in rows], True)
    sides = [side for side in ("chosen", "rejected", "completion") if side in rows[0]]
    if not sides:
        return [
            ids if isinstance(ids, RowProblem) else _named("row", ids, len(ids), False) for ids in prompts
        ]
    columns = [
        encode_conversations(tokenizer, [[*row["prompt"], *row[side]] for row in rows], False)
        for side in sides
    ]
    names = ["row" if side == "completion" else side for side in sides]
    return [_answered(names, prompt, wholes, loss) for prompt, *wholes in zip(prompts, *columns, strict=True)]


def _named(name: str, ids: list[int], prompt: int, on: bool) -> dict[str, TokenSequence]:
    return {name: TokenSequence(ids, [on] * len(ids), prompt)}


def _answered(
    names: Sequence[str],
    prompt: list[int] | RowProblem,
    wholes: Sequence[list[int] | RowProblem],
    loss: LossOn,
) -> dict[str, TokenSequence] | RowProblem:
    """A prompt with each of its answers."""
    found: dict[str, TokenSequence] = {}
    for name, ids in zip(names, wholes, strict=True):
        if isinstance(ids, RowProblem):
            return ids
        if isinstance(prompt, RowProblem):
            return prompt
        start = shared_length(prompt, ids)
        on = 0 if loss == "all" else start
        found[name] = TokenSequence(ids, [False] * on + [True] * (len(ids) - on), start)
    return found


def _turns(messages: Messages, tokenizer: Any) -> dict[str, TokenSequence] | RowProblem:
    """A conversation with the loss on each turn of the assistant."""
    try:
        ids, mask = assistant_mask(tokenizer, messages)
    except Exception as error:  # a template raises what it likes
        return RowProblem("messages", f"the chat template refuses it: {error}")
    return {"row": TokenSequence(ids, [bool(bit) for bit in mask])}


def encode_conversations(
    tokenizer: Any, conversations: Sequence[Messages], generation: bool
) -> list[list[int] | RowProblem]:
    """Token ids of each conversation, or the template's refusal.

    Args:
        tokenizer: with a chat template.
        conversations: message lists.
        generation: end with the start of a reply.
    """
    texts = render_conversations(tokenizer, conversations, generation)
    ids = iter(encode(tokenizer, [text for text in texts if isinstance(text, str)]))
    return [next(ids) if isinstance(text, str) else text for text in texts]


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
