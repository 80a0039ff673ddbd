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
    if loss == "assistant":
        return [_turns(row["messages"], tokenizer) for row in rows]
    if "text" in rows[0]:
        eos = tokenizer.eos_token or ""  # plain text as TRL trains on it
        texts = [row["text"] if row["text"].endswith(eos) else row["text"] + eos for row in rows]
        return [{"row": _sequence(ids, 0)} for ids in encode(tokenizer, texts, special=True)]
    if "messages" in rows[0]:
        wholes = encode_conversations(tokenizer, [row["messages"] for row in rows], False)
        return [ids if isinstance(ids, RowProblem) else {"row": _sequence(ids, 0)} for ids in wholes]
    prompts = encode_conversations(tokenizer, [row["prompt"] for row in rows], True)
    sides = [side for side in ("chosen", "rejected", "completion") if side in rows[0]]
    columns = [
        encode_conversations(tokenizer, [[*row["prompt"], *row[side]] for row in rows], False)
        for side in sides
    ] or [prompts]
    names = ["row"] if len(columns) == 1 else sides
    return [_answered(names, prompt, wholes, loss) for prompt, *wholes in zip(prompts, *columns, strict=True)]


def _sequence(ids: list[int], start: int, prompt: int = 0) -> TokenSequence:
    """A sequence with the loss from ``start`` on."""
    return TokenSequence(ids, [False] * start + [True] * (len(ids) - start), prompt)


def _answered(
    names: Sequence[str],
    prompt: list[int] | RowProblem,
    wholes: Sequence[list[int] | RowProblem],
    loss: LossOn,
) -> dict[str, TokenSequence] | RowProblem:
    """A prompt with each of its answers; the prompt alone where it has none."""
    answered: dict[str, TokenSequence] = {}
    for name, ids in zip(names, wholes, strict=True):
        if isinstance(ids, RowProblem):
            return ids
        if isinstance(prompt, RowProblem):
            return prompt
        start = shared_length(prompt, ids)
        answered[name] = _sequence(ids, 0 if loss == "all" else start, start)
    return answered


def _turns(messages: Messages, tokenizer: Any) -> dict[str, TokenSequence] | RowProblem:
    """A conversation with the loss on each turn of the assistant."""
    try:
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
    except Exception as error:  # a template raises what it likes
        return RowProblem("messages", f"the chat template refuses it: {error}")
    return {
        "row": TokenSequence(list(encoded["input_ids"]), [bool(bit) for bit in encoded["assistant_masks"]])
    }


def encode_conversations(
    tokenizer: Any, conversations: Sequence[Messages], generation: bool
) -> list[list[int] | RowProblem]:
    """Token ids of each conversation, or the template's refusal; ``generation`` ends with the start of a reply."""
    texts = render_conversations(tokenizer, conversations, generation)
    ids = iter(encode(tokenizer, [text for text in texts if isinstance(text, str)]))
    return [next(ids) if isinstance(text, str) else text for text in texts]


def render_conversations(
    tokenizer: Any, conversations: Sequence[Messages], generation: bool
) -> list[str | RowProblem]:
    """Each conversation as text; a ``RowProblem`` where the template refuses it."""

    def render(messages: Any) -> Any:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)

    def render_one(conversation: Messages) -> str | RowProblem:
        try:
            return str(render(conversation))
        except Exception as error:  # the reason goes into the report of the row
            return RowProblem("", f"the chat template refuses it: {error}")

    try:
        return list(render(list(conversations)))
    except Exception:  # templates raise what they like; one at a time shows which conversation it was
        return list(map(render_one, conversations))


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


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


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
