"""What a message has beside its role and text: calls of tools, reasoning, a weight; and content given as parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.pairs import ANSWERS, ASKS
from aligntune_core.data.texts import is_blank, read_text, shortened
from aligntune_core.data.toolcalls import read_calls

_TEXTS = frozenset(("role", "from", "content", "value", "text"))
_CALLS = ("tool_calls", "function_call")
_NAMES = ("tool_call_id", "name")
# Key of the reasoning before a reply -> the name that chat templates read it by.
_THOUGHTS = {
    "reasoning_content": "reasoning_content",
    "reasoning": "reasoning_content",
    "thinking": "thinking",
}
# Keys that say whether a message is learnt, and whether a true value says that it is.
_WEIGHTS = {
    **dict.fromkeys(("weight", "loss_weight", "loss", "loss_scale", "train", "training", "trainable"), True),
    **dict.fromkeys(("masked", "ignore_loss"), False),
}
# Keys without which something else would be learnt, and why they are refused.
_REFUSED = {
    **dict.fromkeys(
        ("image", "images", "image_url", "image_urls", "audio", "audios", "video", "videos"),
        "pictures, sound and video do not reach the model",
    ),
    **dict.fromkeys(
        ("file", "files", "attachment", "attachments", "documents"), "files do not reach the model"
    ),
    **dict.fromkeys(
        ("tool_results", "tool_responses"), "results of tools are messages of their own, with the role tool"
    ),
    **dict.fromkeys(
        ("mask", "loss_mask", "train_detail"), "it is not clear what is learnt; use weight, 0 or 1"
    ),
}
# Keys that change nothing of what is learnt.
_HARMLESS = (
    "id uuid message_id msg_id parent_id conversation_id index idx turn turn_id timestamp time date created created_at "
    "create_time model source language lang tokens token_count num_tokens length type object finish_reason end_turn "
    "metadata"
)
_KEPT_OUT = frozenset((*_TEXTS, *_HARMLESS.split()))
_READ = frozenset((*_KEPT_OUT, *_CALLS, *_NAMES, *_THOUGHTS, *_WEIGHTS))
_READ_IN_PAIRS = frozenset((*_READ, *ASKS, *ANSWERS, "system", "output_with_loss"))


def unread(message: Mapping[str, Any]) -> Iterator[str]:
    """The keys of a message or pair that nobody reads and that have a value."""
    spoken = message.get("role") is not None or message.get("from") is not None
    for key in message.keys() - (_READ if spoken else _READ_IN_PAIRS):
        if not is_blank(message[key]) and message[key] is not False:
            yield key


def read(message: Mapping[str, Any], role: str, which: str, column: str) -> dict[str, Any]:
    """The keys of a canonical message beside role and content.

    Args:
        message: as the row has it.
        role: its canonical role.
        which: what to call it: "message 2".
        column: its column.

    Raises:
        RowProblem: a key changes what is learnt in a way that cannot be followed.
    """
    if message.keys() <= _TEXTS:
        return {}
    beside: dict[str, Any] = {}
    for key, value in message.items():
        if key in _KEPT_OUT or is_blank(value):
            continue
        if key in _CALLS:
            _only_assistant(role, key, which, column)
            beside["tool_calls"] = [*beside.get("tool_calls", ()), *read_calls(value, which, column)]
        elif key in _THOUGHTS:
            _only_assistant(role, key, which, column)
            _put_thought(beside, _THOUGHTS[key], _joined(value, f"{which}: {key}", column), which, column)
        elif key in _NAMES:
            beside[key] = str(value)
        elif key in _WEIGHTS:
            _put_weight(beside, key, value, role, which, column)
        elif key in _REFUSED and value is not False:
            raise RowProblem(column, f"{which} has the key {key!r}: {_REFUSED[key]}")
    return beside


def _only_assistant(role: str, key: str, which: str, column: str) -> None:
    if role != "assistant":
        raise RowProblem(column, f"{which} is from the {role}, but has the key {key!r} of the assistant")


def _put_thought(beside: dict[str, Any], name: str, text: str, which: str, column: str) -> None:
    if beside.get(name, text) != text:
        raise RowProblem(column, f"{which} has reasoning and reasoning_content that differ")
    beside[name] = text


def _put_weight(beside: dict[str, Any], key: str, value: Any, role: str, which: str, column: str) -> None:
    """Note whether a reply is learnt; other messages never are."""
    number = {"true": 1, "false": 0}.get(value.strip().lower(), value) if isinstance(value, str) else value
    try:
        number = float(number)
    except (TypeError, ValueError):
        number = -1.0
    if number not in (0.0, 1.0):
        raise RowProblem(
            column, f"{which} has {key} {shortened(value)}: a reply is learnt (1) or not (0), nothing between"
        )
    learnt = bool(number) == _WEIGHTS[key]
    if role != "assistant":
        if learnt and _WEIGHTS[key] and key != "loss_scale":
            raise RowProblem(
                column, f"{which} is from the {role} and has {key} {value!r}, but only replies are learnt"
            )
    else:
        beside["weight"] = int(learnt)


# --- content given as parts ------------------------------------------------------------------------------------------


def read_parts(parts: Sequence[Any], role: str, which: str, column: str) -> tuple[str, dict[str, Any]]:
    """The text of content given as parts, and the reasoning and calls among them; other parts are refused by name."""
    texts: list[str] = []
    beside: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") or "text" if isinstance(part, Mapping) else type(part).__name__
        reader = _PARTS.get(kind) if isinstance(part, Mapping) else None
        if reader is None:
            raise RowProblem(column, f"{which} holds a part of type {kind!r}; only text is supported")
        if kind not in _TEXT_PARTS:
            _only_assistant(role, f"{kind} (a part)", which, column)
        reader(part, texts, beside, f"{which}: a part of type {kind!r}", column)
    return "".join(texts), beside


Part = Mapping[str, Any]


def _text_of(part: Part, keys: Sequence[str], which: str, column: str) -> Any:
    key = next((key for key in keys if part.get(key) is not None), None)
    if key is None:
        others = ", ".join(repr(key) for key in part if key != "type") or "none"
        raise RowProblem(
            column, f"{which} has no text under {', '.join(map(repr, keys))} (its keys: {others})"
        )
    return part[key]


def _text_part(part: Part, texts: list[str], beside: dict[str, Any], which: str, column: str) -> None:
    text = _text_of(part, ("text", "value", "content"), which, column)
    if not isinstance(text, str):
        raise RowProblem(column, f"{which}: {shortened(text)} is no text")
    texts.append(text)


def _thought_part(part: Part, texts: list[str], beside: dict[str, Any], which: str, column: str) -> None:
    value = _text_of(part, ("thinking", "reasoning", "text", "value", "content"), which, column)
    name = "thinking" if part["type"] == "thinking" else "reasoning_content"
    beside[name] = beside.get(name, "") + _joined(value, which, column)


def _call_part(part: Part, texts: list[str], beside: dict[str, Any], which: str, column: str) -> None:
    value = next(
        (part[k] for k in ("value", "tool_call", "content", "text") if part.get(k) is not None), part
    )
    beside["tool_calls"] = [*beside.get("tool_calls", ()), *read_calls(value, which, column)]


def _joined(value: Any, which: str, column: str) -> str:
    """A text, also one given as parts."""
    if isinstance(value, list | tuple):
        return read_parts(value, "", which, column)[0]
    try:
        return read_text(value, column)
    except RowProblem as problem:
        raise RowProblem(column, f"{which}: {problem.reason}") from None


Reader = Callable[[Part, list[str], dict[str, Any], str, str], None]
_TEXT_PARTS = frozenset(("text", "input_text", "output_text"))
_PARTS: Mapping[str, Reader] = {
    **dict.fromkeys(_TEXT_PARTS, _text_part),
    **dict.fromkeys(("reasoning", "thinking"), _thought_part),
    **dict.fromkeys(("tool_call", "function_call"), _call_part),
}
