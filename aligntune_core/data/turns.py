"""Which part of a rendered conversation each reply of the assistant is.

Four ways, the first that can tell: the template's own marks (``{% generation %}``); the marks of the training template
that TRL ships for the same family, where both render the same text; a form of the conversation, where the template
writes the same around any content; and the conversation cut before and after each reply, where the template renders its
beginning as it renders it within the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

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
class Form:
    """What a template writes around the contents of conversations of the same speakers.

    Attributes:
        pieces: the text before each content, and after the last.
        ends: of each reply but the last, how many characters of the piece after it end it: the whole tokens that end
            the last reply too.
        start: characters of the piece before the last reply that generation would start with.
    """

    pieces: tuple[str, ...]
    ends: Mapping[int, int]
    start: int


class Turns:
    """The replies of conversations, told apart with one tokenizer's template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._forms: dict[tuple[str, ...], Form | None] = {}

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
        parts = parts or self._filled_in(messages, tools, text) or self._cut(messages, tools, text)
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

    # --- a form, and what is put into it ---

    def _filled_in(self, messages: Messages, tools: Tools, text: str) -> list[Span] | None:
        """The replies of a conversation whose text is its form with the contents put in."""
        if tools or any(len(message) > 2 for message in messages[:-1]):
            return None
        roles = tuple(message["role"] for message in messages)
        if roles not in self._forms:
            self._forms[roles] = self._form(roles)
        form = self._forms[roles]
        if form is None:
            return None
        contents = [message["content"] for message in messages]
        filled = _put_in(form.pieces, contents)
        if "".join(filled) != text:
            contents = [content.strip() for content in contents]
            filled = _put_in(form.pieces, contents)
            if "".join(filled) != text:
                return None
        ends = list(accumulate(map(len, filled)))  # of each piece with its content
        spans = [(ends[i] - len(contents[i]), ends[i] + length) for i, length in form.ends.items()]
        before_last = ends[-3] if len(ends) > 2 else 0
        return [*spans, (before_last + form.start, len(text))]

    def _form(self, roles: Sequence[str]) -> Form | None:
        """The form of conversations of these speakers; None where the template has none."""
        if roles[-1] != "assistant" or len(roles) < 2:
            return None
        names = [f"\ue000{index}\ue001" for index in range(len(roles))]
        conversation = [{"role": role, "content": name} for role, name in zip(roles, names, strict=True)]
        try:
            whole = self._rendered(conversation, None)
            before = self._rendered(conversation[:-1], None, generation=True)
        except Exception:  # a template that looks into contents, or refuses the beginning, has no form
            return None
        pieces = re.split("|".join(names), whole)
        beginning = re.split("|".join(names), before)
        if len(pieces) != len(roles) + 1 or beginning[:-1] != pieces[: len(roles) - 1]:
            return None
        if not pieces[len(roles) - 1].startswith(beginning[-1]):
            return None
        replies = [index for index, role in enumerate(roles[:-1]) if role == "assistant"]
        ends = {index: self._shared_end(pieces[index + 1], pieces[-1]) for index in replies}
        return Form(tuple(pieces), ends, len(beginning[-1]))

    def _shared_end(self, piece: str, end: str) -> int:
        """How many characters of a piece are whole tokens that ``end`` starts with too."""
        one = self._tokenizer(piece, add_special_tokens=False)["input_ids"]
        other = self._tokenizer(end, add_special_tokens=False)["input_ids"]
        count = next(
            (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
        text = str(self._tokenizer.decode(one[:count], clean_up_tokenization_spaces=False))
        return len(text) if piece.startswith(text) else 0

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


def _put_in(pieces: Sequence[str], contents: Sequence[str]) -> list[str]:
    return [piece + content for piece, content in zip(pieces, [*contents, ""], strict=True)]


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
