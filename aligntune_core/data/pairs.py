"""Conversations that are written as pairs, a question and its answer each, as the messages that they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.wording import a_type, listed

ASKS = ("human", "user", "question", "prompt", "query", "instruction", "input")
ANSWERS = ("assistant", "gpt", "bot", "answer", "response", "output", "completion")
# Keys of a pair that speak of its answer's loss; true is the usual case.
_LOSS = {"output_with_loss": "loss"}


def is_pair(item: Any) -> bool:
    """Whether a dict has the keys of both a question and an answer, and is no message."""
    if not isinstance(item, Mapping) or "role" in item or "from" in item:
        return False
    return any(key in item for key in ASKS) and any(key in item for key in ANSWERS)


def unpaired(items: Sequence[Any], column: str) -> Sequence[Any]:
    """The items of a conversation as messages: pairs become two each, anything else stays as it is.

    Pairs are dicts (``{"human": ..., "assistant": ...}``), lists of two texts, or texts in turn.

    Raises:
        RowProblem: an item after the first is of another kind, or a pair says one thing twice.
    """
    first = items[0]
    if is_pair(first):
        return [message for number, item in enumerate(items) for message in _of_dict(item, number, column)]
    if isinstance(first, list | tuple):
        return [message for number, item in enumerate(items) for message in _of_list(item, number, column)]
    if isinstance(first, str) and len(items) > 1 and all(isinstance(item, str) for item in items):
        roles = ("user", "assistant")
        return [{"role": roles[number % 2], "content": text} for number, text in enumerate(items)]
    return items


def _of_dict(item: Any, number: int, column: str) -> list[dict[str, Any]]:
    which = f"turn {number}"
    if not is_pair(item):
        keys = f" with the keys {listed(item)}" if isinstance(item, Mapping) else ""
        raise RowProblem(column, f"{which} is {a_type(item)}{keys}, not a question and its answer")
    asks = [key for key in ASKS if item.get(key) not in (None, "")]
    answers = [key for key in ANSWERS if item.get(key) is not None]
    if set(asks) == {"instruction", "input"}:
        question: Any = f"{item['instruction']}\n\n{item['input']}"
    elif len(asks) > 1 or len(answers) > 1:
        twice = asks if len(asks) > 1 else answers
        raise RowProblem(column, f"{which} has {' and '.join(twice)}; only one of them can be said")
    else:
        question = item[asks[0]] if asks else None
    beside = {_LOSS.get(key, key): item[key] for key in item if key not in (*ASKS, *ANSWERS, "system")}
    messages = [{"role": "system", "content": item["system"]}] if item.get("system") else []
    messages += [{"role": "user", "content": question}] if asks else []
    if answers:
        messages.append({**beside, "role": "assistant", "content": item[answers[0]]})
    return messages


def _of_list(item: Any, number: int, column: str) -> list[dict[str, Any]]:
    texts = isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)
    if not texts:
        raise RowProblem(column, f"turn {number} is no list of two texts, a question and its answer")
    question, answer = item
    start = [{"role": "user", "content": question}] if question else []
    return [*start, {"role": "assistant", "content": answer}]
