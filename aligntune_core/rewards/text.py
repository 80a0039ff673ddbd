"""Take text out of prompts and completions, which are strings or message lists, and answers out of longer texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Conversation = Sequence[Mapping[str, Any]]
TextOrMessages = str | Conversation

_THINK_END = "</think>"
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_ANSWER_PHRASE = re.compile(r"\banswer\s*(?:is|:|=)\s*:?\s*([^\n]+)", re.IGNORECASE)
_BOXED = re.compile(r"\\f?boxed\s*\{")


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or content blocks of which the text ones count."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in content if block.get("type", "text") == "text")


def completion_text(completion: TextOrMessages) -> str:
    """The model's text: the string itself, or the assistant's messages joined by newlines."""
    if isinstance(completion, str):
        return completion
    messages = [m for m in completion if m.get("role", "assistant") == "assistant"]
    return "\n".join(content_text(m.get("content")) for m in messages)


def prompt_text(prompt: TextOrMessages) -> str:
    """The question: the string itself, or the last user message of a conversation."""
    if isinstance(prompt, str):
        return prompt
    messages = [m for m in prompt if m.get("role") == "user"] or list(prompt)
    return content_text(messages[-1].get("content")) if messages else ""


def conversation(prompt: TextOrMessages, completion: TextOrMessages) -> list[dict[str, Any]] | None:
    """Prompt and completion as one message list, or None where the prompt is a plain string."""
    if isinstance(prompt, str):
        return None
    turns = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    return [dict(message) for message in (*prompt, *turns)]


def after_thinking(text: str) -> str:
    """The part after the last ``</think>``; all of it where there is none."""
    return text.rpartition(_THINK_END)[2]


def final_answer(text: str) -> str:
    r"""The answer that a longer text ends in.

    Looks at the text after ``</think>`` for, in this order: the last ``<answer>...</answer>``, the last
    ``\boxed{...}``, what follows the last ``####`` (gsm8k), the rest of the line after the last "answer is" or
    "answer:". A text with none of them is taken whole. Surrounding white space and a final full stop are cut off.
    """
    text = after_thinking(text)
    candidates = (
        _ANSWER_TAG.findall(text),
        _boxed(text),
        text.split("####")[1:],
        _ANSWER_PHRASE.findall(text),
    )
    answer: str = next((answers[-1] for answers in candidates if answers), text)
    return answer.strip().removesuffix(".").strip()


def shorten(text: str, limit: int = 300) -> str:
    """``text`` on one line and quoted, its middle left out beyond ``limit`` characters."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} ... {text[-(limit // 2) :]}"
    return repr(text)


def _boxed(text: str) -> list[str]:
    """The content of the last ``\\boxed{...}`` with balanced braces; nothing where there is none."""
    for start in reversed([m.end() for m in _BOXED.finditer(text)]):
        depth = 1
        for position in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return [text[start:position]]
    return []
