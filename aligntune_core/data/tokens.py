"""Canonical rows as tokens and loss masks, from the chat template: the one way in which core tokenises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from aligntune_core.data import fidelity
from aligntune_core.data.encoding import (
    TokenSequence,
    Tools,
    after_prompt,
    encode,
    render_conversations,
    shared_length,
)
from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.formats.tokens import IGNORED
from aligntune_core.data.templated import Answer, Templated
from aligntune_core.data.templates import adds_bos
from aligntune_core.data.turns import Turns
from aligntune_core.types import LossOn


def sequences(rows: Sequence[Mapping[str, Any]], loss: LossOn, tokenizer: Any) -> list[Answer]:
    """Canonical rows of one kind as the model will see them.

    The completion starts where the tokens of the prompt alone and those of prompt and completion part, which is not
    always after the prompt. Plain text ends with the end-of-sequence token.

    Args:
        rows: canonical rows, all with the same columns. Those that are tokens already keep them. A prompt that is a
            text was rendered already, and its completion with it: they are taken as they are.
        loss: where their loss is.
        tokenizer: with a chat template, if the rows are conversations.

    Returns:
        list: for each row its sequences by name: "chosen" and "rejected", or a single one, "row"; or a ``RowProblem``
        where the chat template refuses it, or leaves out part of what is to be learnt.
    """
    answers = _sequences(rows, loss, tokenizer) if rows else []
    return [_remarked(answer, row) for answer, row in zip(answers, rows, strict=True)]


def _remarked(answer: Answer, row: Mapping[str, Any]) -> Answer:
    """The sequences of a row, with a remark where it spells the marks of a template and these are no special tokens."""
    if isinstance(answer, RowProblem) or any(sequence.remark for sequence in answer.values()):
        return answer
    mark = fidelity.mark_of_templates(row)
    if not mark or isinstance(row.get("prompt"), str):
        return answer
    remark = f"The text spells {mark}, a mark of chat templates, which this tokenizer reads as plain text"
    return {name: replace(sequence, remark=remark) for name, sequence in answer.items()}


def _sequences(rows: Sequence[Mapping[str, Any]], loss: LossOn, tokenizer: Any) -> list[Answer]:
    """As ``sequences``, of some rows at least."""
    if rows[0].keys().isdisjoint(("text", "messages", "prompt")):
        return [_labelled(row["input_ids"], row["labels"]) for row in rows]
    special = fidelity.special_tokens(tokenizer)
    if "text" in rows[0]:
        return _texts(rows, tokenizer, special)
    templated = Templated(tokenizer, special, Turns(tokenizer))
    if "messages" in rows[0]:
        read = templated.turns if loss == "assistant" else templated.whole
        return [read(row["messages"], tools_of(row)) for row in rows]
    sides = [side for side in ("chosen", "rejected", "completion") if side in rows[0]]
    if isinstance(rows[0]["prompt"], str):
        return _rendered(rows, sides, loss == "all", tokenizer)
    # Of rows without loss, a column of tools is one that is carried along for rewards.
    tools = [None if loss == "none" else tools_of(row) for row in rows]
    return templated.answers(rows, tools, sides, loss == "all")


def _labelled(ids: list[int], labels: list[int]) -> Answer:
    """A row that is tokens already; a label of -100 bears no loss."""
    mask = [label != IGNORED for label in labels]
    return {"row": TokenSequence(list(ids), mask, mask.index(True))}


_RENDERED = "The text spells special tokens, so it was rendered already: none are added to those that it has"


@lru_cache(maxsize=256)
def _tools(text: str) -> Tools:
    return json.loads(text) or None


def tools_of(row: Mapping[str, Any]) -> Tools:
    """The definitions of tools of a canonical row, which holds them as JSON."""
    text = row.get("tools")
    return _tools(text) if text else None


def _texts(rows: Sequence[Mapping[str, Any]], tokenizer: Any, special: fidelity.Special) -> list[Answer]:
    """Plain text as TRL trains on it: with the special tokens of any text, and an end.

    One that spells special tokens was rendered already: it gets no second BOS, and no end where it has one.
    """
    texts, remarks = [], []
    for row in rows:
        text, marked = _ended(row["text"], tokenizer, special)
        texts.append(text)
        remarks.append(_RENDERED if marked else "")
    return [
        {"row": TokenSequence(ids, [True] * len(ids), remark=remark)}
        for ids, remark in zip(encode(tokenizer, texts, special=True), remarks, strict=True)
    ]


def _ended(text: str, tokenizer: Any, special: fidelity.Special) -> tuple[str, bool]:
    """A text with an end, and whether it spells special tokens itself, the end aside."""
    bos, eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
    if special is None or not special.search(text.removesuffix(eos)):
        return (text if text.endswith(eos) else text + eos), False
    if bos and text.startswith(bos) and adds_bos(tokenizer):
        text = text.removeprefix(bos)
    last = text.rstrip()
    ended = any(match.end() == len(last) for match in special.finditer(last))
    return (text if ended else text + eos), True


def _rendered(
    rows: Sequence[Mapping[str, Any]], sides: Sequence[str], loss_on_all: bool, tokenizer: Any
) -> list[Answer]:
    """Prompts and completions that hold the template's marks already: joined as they are.

    The tokenizer's BOS is added where it adds one to any text; the rows have none of their own (see data/rendered.py).
    """
    prompts = encode(tokenizer, [row["prompt"] for row in rows], special=True)
    columns = [
        encode(tokenizer, [row["prompt"] + row[side] for row in rows], special=True) for side in sides
    ] or [prompts]
    names = ["row"] if len(columns) == 1 else list(sides)
    return [
        {name: after_prompt(prompt, ids, loss_on_all) for name, ids in zip(names, wholes, strict=True)}
        for prompt, *wholes in zip(prompts, *columns, strict=True)
    ]


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
