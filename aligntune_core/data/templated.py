"""Conversations as tokens and loss masks, and what stands in the way: a template that leaves out what a row says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aligntune_core.data import fidelity
from aligntune_core.data.encoding import (
    Messages,
    TokenSequence,
    Tools,
    after_prompt,
    encode,
    from_start,
    masked,
    render_conversations,
    shared_length,
)
from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.turns import Span, Turns

Answer = dict[str, TokenSequence] | RowProblem
"""The sequences of a row by name, or why there are none."""

_EARLIER_CUT = "The chat template leaves out the reasoning of earlier replies, as it does at inference"
_PARTS_EARLY = (
    "the chat template renders it otherwise where a reply follows, so the loss would be on part of it; use another "
    "template (chat_template=)"
)
_LAST_ONLY = (
    "The chat template does not show where earlier replies start and end, so only the last one is learnt"
)


def spelt(token: str, remedy: str) -> str:
    """The problem of a text that spells a special token."""
    return (
        f"{token} is spelt in it, which the tokenizer reads as a special token: rendered already, or a turn that would "
        f"start or end in its middle; {remedy}, or correct it"
    )


def _left_out(what: str) -> str:
    return (
        f"the chat template leaves out the {what}, so it would not be learnt; use a template that writes it "
        "(chat_template=), or rows that are rendered already (rendered=True)"
    )


@dataclass(frozen=True)
class Templated:
    """What a tokenizer's chat template makes of conversations."""

    tokenizer: Any
    special: fidelity.Special
    replies: Turns

    # --- whole conversations ---

    def turns(self, messages: Messages, tools: Tools) -> Answer:
        """A conversation with the loss on each reply, those of weight 0 aside."""
        if problem := self._unwritable(messages, "messages"):
            return problem
        learnt = [message.get("weight") != 0 for message in messages if message["role"] == "assistant"]
        if not any(learnt):
            return RowProblem("messages", "every reply has weight 0: nothing of the row is learnt")
        plain = [{key: value for key, value in m.items() if key != "weight"} for m in messages]
        try:
            parts = self.replies.spans(plain, tools)
        except Exception as error:  # a template raises what it likes
            return RowProblem("messages", f"the chat template refuses it: {error}")
        if parts is None:
            return self._last_reply(messages, tools)
        text, spans = parts
        try:
            remark = _checked(plain, tools, text, spans)
        except RowProblem as problem:
            return problem
        ids, mask = masked(self.tokenizer, text, [s for s, on in zip(spans, learnt, strict=True) if on])
        return {"row": TokenSequence(ids, mask, remark=remark)}

    def _last_reply(self, messages: Messages, tools: Tools) -> Answer:
        """A conversation whose replies cannot be told apart: the last one is learnt, which the report says."""
        pair = {"prompt": list(messages[:-1]), "completion": list(messages[-1:])}
        answer = self.answers([pair], [tools], ["completion"], loss_on_all=False)[0]
        if isinstance(answer, RowProblem):
            return answer
        return {"row": TokenSequence(answer["row"].ids, answer["row"].mask, remark=_LAST_ONLY)}

    def whole(self, messages: Messages, tools: Tools) -> Answer:
        """A conversation with the loss on every token."""
        if problem := self._unwritable(messages, "messages") or _unlearnt(messages, "messages"):
            return problem
        text = render_conversations(self.tokenizer, [messages], False, [tools])[0]
        if isinstance(text, RowProblem):
            return text
        if left_out := fidelity.missing(messages, text):
            return RowProblem("messages", _left_out(left_out))
        return {"row": from_start(encode(self.tokenizer, [text])[0], 0)}

    # --- prompts and answers ---

    def answers(
        self,
        rows: Sequence[Mapping[str, Any]],
        tools: Sequence[Tools],
        sides: Sequence[str],
        loss_on_all: bool,
    ) -> list[Answer]:
        """Prompts with each of their answers, the columns ``sides``; prompts alone where they have none."""
        prompts = render_conversations(self.tokenizer, [row["prompt"] for row in rows], True, tools)
        texts = [
            render_conversations(self.tokenizer, [[*row["prompt"], *row[side]] for row in rows], False, tools)
            for side in sides
        ]
        problems = [
            (loss_on_all and _unlearnt(row["prompt"], "prompt"))
            or self._problem(row, own, dict(zip(("prompt", *sides), parts, strict=True)))
            for row, own, *parts in zip(rows, tools, prompts, *texts, strict=True)
        ]
        alone = self._encoded(prompts, problems)
        columns = [self._encoded(column, problems) for column in texts] or [alone]
        names = ["row"] if len(columns) == 1 else list(sides)
        return [
            problem
            or {n: after_prompt(prompt, ids, loss_on_all) for n, ids in zip(names, wholes, strict=True)}
            for problem, prompt, *wholes in zip(problems, alone, *columns, strict=True)
        ]

    def _encoded(
        self, texts: Sequence[str | RowProblem], problems: Sequence[RowProblem | None]
    ) -> list[list[int]]:
        """Token ids of the texts; none for rows that have a problem."""
        ids = iter(
            encode(self.tokenizer, [str(t) for t, p in zip(texts, problems, strict=True) if p is None])
        )
        return [[] if problem is not None else next(ids) for problem in problems]

    def _problem(
        self, row: Mapping[str, Any], tools: Tools, texts: Mapping[str, str | RowProblem]
    ) -> RowProblem | None:
        """Why a rendered prompt, or one with an answer, is not what the row says; ``texts`` by column."""
        prompt = ""
        for column, text in texts.items():
            if isinstance(text, RowProblem):
                return text
            if problem := self._unwritable(row[column], column):
                return problem
            messages = row[column]
            if column == "prompt":
                prompt = text
                if tools and (problem := fidelity.unwritten_tools(tools, text)):
                    return problem
                messages = [message for message in messages if message["role"] != "assistant"]
            elif any(message.get("weight") == 0 for message in messages):
                return RowProblem(column, "its weight is 0, so nothing of the row would be learnt")
            start = len(prompt) if column != "prompt" and text.startswith(prompt) else 0
            if left_out := fidelity.missing(messages, text, start):
                return RowProblem(column, _left_out(left_out))
            if column != "prompt" and not start and _parts_early(row["prompt"], prompt, text):
                return RowProblem("prompt", _PARTS_EARLY)
        return None

    def _unwritable(self, messages: Messages, column: str) -> RowProblem | None:
        """The problem of messages that spell a special token, or what the template writes between two of them."""
        token = fidelity.stray_special(self.special, messages)
        if token:
            return RowProblem(column, spelt(token, "rendered=True takes rows as they are"))
        between = self.replies.between
        if between and any(between in message["content"] for message in messages):
            return RowProblem(
                column,
                f"{between!r} is spelt in it, which the chat template writes between a question and its answer: "
                "rendered already; rendered=True takes rows as they are, or correct it",
            )
        return None


def _unlearnt(messages: Messages, column: str) -> RowProblem | None:
    """The problem of a reply of weight 0 where the loss is on every token."""
    if any(message.get("weight") == 0 for message in messages):
        return RowProblem(column, "a reply has weight 0, but completion_only_loss=False learns every token")
    return None


def _parts_early(messages: Messages, prompt: str, text: str) -> bool:
    """Whether a prompt is rendered otherwise where a reply follows, before the end of what it says."""
    said = [message for message in messages if message["role"] != "assistant"]
    return bool(fidelity.missing(said[-1:], text[: shared_length(prompt, text)]))


def _checked(messages: Messages, tools: Tools, text: str, spans: Sequence[Span]) -> str:
    """A remark on what a template leaves out of an earlier reply: its reasoning may go.

    Raises:
        RowProblem: it leaves out anything else.
    """
    if tools and (problem := fidelity.unwritten_tools(tools, text)):
        raise problem
    own = [message for message in messages if message["role"] == "assistant"]
    others = [message for message in messages if message["role"] != "assistant"]
    left_out, remark = fidelity.missing(others, text), ""
    for message, (start, end) in zip(own, spans, strict=True):
        reply = fidelity.missing([message], text[:end], start)
        if reply and message is not own[-1]:
            reply, remark = (
                fidelity.missing([fidelity.without_thoughts(message)], text[:end], start),
                _EARLIER_CUT,
            )
        left_out = left_out or reply
    if left_out:
        raise RowProblem("messages", _left_out(left_out))
    return remark
