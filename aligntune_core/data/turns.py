"""Which part of a rendered conversation each reply of the assistant is.

Four ways, the first that can tell: the template's own marks (``{% generation %}``); the marks of the training template
that TRL ships for the same family, where both render the same text; the frame that the template writes around each
reply, where it stands once for each of them; and the conversation cut before and after each reply, where the template
renders its beginning as it renders it within the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from aligntune_core.data.fidelity import quoted
from aligntune_core.model.template import TRAINING, shipped

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Any] | None
Span = tuple[int, int]
"""Characters of a text: start, and end (exclusive)."""

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Two questions and answers: what a template makes of them shows whether replies can be told apart.
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
        return Turns(tokenizer).spans(_PROBE, None) is not None
    except Exception:  # a template raises what it likes; that it refuses the probe says nothing of the rows
        return False


@dataclass(frozen=True)
class Frame:
    """What a template writes around each reply.

    Attributes:
        start: what starts a reply, as generation starts it.
        more: what generation starts with beyond that, where a template writes it before some replies only: "<think>".
        mark: the first token of what ends a reply.
        end: all of what ends a reply, whether others follow or not; begins with ``mark``.
    """

    start: str
    more: str
    mark: str
    end: str


class Turns:
    """The replies of conversations, told apart with one tokenizer's template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._frames: dict[bool, Frame | None] = {}

    def spans(self, messages: Messages, tools: Tools) -> tuple[str, list[Span]] | None:
        """The rendered conversation, and the part of it that each of its replies is, in order.

        Args:
            messages: the conversation, which has a reply.
            tools: definitions of tools for the template, or None.

        Returns:
            tuple: text and one span a reply; None where the replies cannot be told apart.

        Raises:
            Exception: whatever the template raises for a conversation that it refuses.
        """
        own = self._tokenizer.chat_template
        if has_marks(own):
            text, parts = self._marked(own, messages, tools)
            parts = parts or self._cut(messages, tools, text)
            return None if parts is None else (text, parts)
        text = self._rendered(messages, tools)
        parts = None
        if (training := training_template(own)) is not None:
            same, marks = self._marked(training, messages, tools)
            parts = marks if same == text else None
        parts = parts or self._framed(messages, tools, text) or self._cut(messages, tools, text)
        return None if parts is None else (text, parts)

    def _rendered(self, messages: Messages, tools: Tools, generation: bool = False) -> str:
        """A conversation as text; ``generation`` ends it with the start of a reply."""
        return str(
            self._tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=generation
            )
        )

    def _marked(self, template: str, messages: Messages, tools: Tools) -> tuple[str, list[Span] | None]:
        """The text that a template with marks renders, and what lies between them; None where that is no reply each."""
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, marks = render_jinja_template(
            conversations=[list(messages)],
            tools=tools,
            chat_template=template,
            return_assistant_tokens_mask=True,
            **self._tokenizer.special_tokens_map,
        )
        replies = sum(message["role"] == "assistant" for message in messages)
        return texts[0], [(start, end) for start, end in marks[0]] if len(marks[0]) == replies else None

    @cached_property
    def between(self) -> str:
        """What the template writes between a question and its answer; "" where plain words or nothing stand there."""
        names = ["\ue0000\ue001", "\ue0001\ue001"]
        talk = [{**message, "content": name} for message, name in zip(_PROBE[:2], names, strict=True)]
        try:
            whole = self._rendered(talk, None)
        except Exception:  # a template that looks into contents
            return ""
        text = whole.partition(names[0])[2].partition(names[1])[0].lstrip(" ").rstrip()
        return text if len(text) > 3 and not text.replace(" ", "").isalnum() else ""

    # --- frames ---

    def _framed(self, messages: Messages, tools: Tools, text: str) -> list[Span] | None:
        """The replies of a conversation whose text has the frame once for each; None where that cannot be said."""
        system = messages[0]["role"] == "system"
        if system not in self._frames:
            self._frames[system] = self._frame(system)
        frame = self._frames[system]
        if frame is None:
            return None
        rows = f"{messages}{tools or ''}"
        if frame.start.strip() in rows or frame.mark.strip() in rows:
            return None  # what people wrote could be taken for the template's
        starts = [match.end() for match in re.finditer(re.escape(frame.start), text)]
        replies = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        if len(starts) != len(replies):
            return None
        spans = []
        for start, limit in zip(starts, [*starts[1:], len(text)], strict=True):
            start += len(frame.more) if text.startswith(frame.more, start) else 0
            at = text.find(frame.mark, start, limit)
            if at < 0:
                return None
            spans.append((start, at + len(frame.end if text.startswith(frame.end, at) else frame.mark)))
        if not _between(messages, replies, text, spans):
            return None
        return [*spans[:-1], (spans[-1][0], len(text))]

    def _frame(self, system: bool) -> Frame | None:
        """What the template writes around replies; None where it differs between them, or is nothing."""
        names = [f"\ue000{index}\ue001" for index in range(4)]
        talk = [{**message, "content": name} for message, name in zip(_PROBE, names, strict=True)]
        first = [{"role": "system", "content": "\ue000s\ue001"}] if system else []
        try:
            whole = self._rendered([*first, *talk], None)
            asked = self._rendered([*first, *talk[:3]], None)
            begun = self._rendered([*first, *talk[:3]], None, generation=True)
        except Exception:  # a template that looks into contents, or refuses the beginning, has no frame
            return None
        pieces = re.split("|".join(names), whole)
        if len(pieces) != len(names) + 1 or names[2] not in asked or names[2] not in begun:
            return None
        user_end, prompt = asked.rpartition(names[2])[2], begun.rpartition(names[2])[2]
        begin = _shared(pieces[3], prompt)
        start = _shared(pieces[1], begin)
        user_end = self._shared_tokens(user_end, start)
        end = self._shared_tokens(pieces[2], pieces[4])
        if not start[len(user_end) :].strip() or not end:
            return None
        mark = str(self._tokenizer.decode(self._tokenizer(end, add_special_tokens=False)["input_ids"][:1]))
        if not mark.strip() or not end.startswith(mark):
            return None
        return Frame(start[len(user_end) :], begin[len(start) :], mark, end)

    def _shared_tokens(self, piece: str, end: str) -> str:
        """The whole tokens that two texts start with."""
        one, other = (self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in (piece, end))
        text = str(self._tokenizer.decode(_shared(one, other), clean_up_tokenization_spaces=False))
        return text if piece.startswith(text) else ""

    # --- cut ---

    def _cut(self, messages: Messages, tools: Tools, text: str) -> list[Span] | None:
        """The replies of a template that renders a beginning as it renders it within the whole; None for another."""
        parts = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            last = index == len(messages) - 1
            try:
                before = self._rendered(messages[:index], tools, generation=True)
                after = text if last else self._rendered(messages[: index + 1], tools)
            except (
                Exception
            ):  # the whole was rendered: this template refuses some beginnings, so it cannot be cut
                return None
            if not (text.startswith(before) and text.startswith(after) and len(before) < len(after)):
                return None
            parts.append((len(before), len(after)))
        return parts


def _shared(one: Any, other: Any) -> Any:
    """What two texts, or two lists of tokens, start with."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))]


def _between(messages: Messages, replies: Sequence[int], text: str, spans: Sequence[Span]) -> bool:
    """Whether what others say stands before, between the replies' spans, and nowhere within them."""
    ends, starts = [0, *(end for _, end in spans)], [start for start, _ in spans]
    firsts = [0, *(index + 1 for index in replies)]
    for first, last, begin, limit in zip(firsts, replies, ends, starts, strict=False):
        for message in messages[first:last]:
            content = message["content"].strip()
            if content not in text[begin:limit] and quoted(content) not in text[begin:limit]:
                return False
    return True


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
