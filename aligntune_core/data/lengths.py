"""Token lengths, and rows that the library would drop or learn nothing from, found before it gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aligntune_core.data.rows import RowProblem
from aligntune_core.data.tokens import (
    assistant_mask,
    encode,
    render_conversations,
    shared_length,
    window,
    with_eos,
)
from aligntune_core.types import LossOn

Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One row's length.

    Attributes:
        tokens: before truncation; of the longer side for preference rows.
        truncated: whether it is longer than the limit.
        problem: why it cannot be used, or None.
    """

    tokens: int = 0
    truncated: bool = False
    problem: RowProblem | None = None


@dataclass(frozen=True)
class Limits:
    """The settings that decide what is left of a row.

    Attributes:
        tokens: ``max_seq_length``; for online algorithms ``max_prompt_length`` or what is left for it; None: no limit.
        mode: "keep_start" or "keep_end".
        cuts: whether rows are truncated at all ("wrapped" packing cuts no row).
        drops_long: whether the library drops rows over the limit instead of cutting them (reward training).
        loss: where the loss is.
    """

    tokens: int | None
    mode: str
    cuts: bool
    drops_long: bool
    loss: LossOn


def limits_for(config: Any, algorithm: Any, loss: LossOn) -> Limits:
    """The limits that a configuration sets for an algorithm's rows."""
    data = config.data
    if loss == "none":
        return Limits(_prompt_limit(config), "keep_start", False, True, loss)
    packed = data.packing and algorithm.supervised
    return Limits(
        tokens=data.max_seq_length,
        mode="keep_start" if packed else data.truncation_mode,
        cuts=not (packed and data.packing_strategy == "wrapped"),
        drops_long=algorithm.long_rows == "drop",
        loss=loss,
    )


def _prompt_limit(config: Any) -> int | None:
    """Tokens a prompt may have: as asked for, or what ``max_seq_length`` leaves beside a completion."""
    asked = getattr(config.parameters, "max_prompt_length", None)
    completion = getattr(config.parameters, "max_completion_length", None)
    if asked is not None or completion is None:
        return asked
    return int(config.data.max_seq_length - completion)


def measure(rows: Sequence[Row], tokenizer: Any, limits: Limits) -> list[Measured]:
    """Measure canonical rows of one layout in one go."""
    if not rows:
        return []
    if "text" in rows[0]:
        texts = [with_eos(tokenizer, row["text"]) for row in rows]
        return [_whole(len(ids), "text", limits) for ids in encode(tokenizer, texts, special=True)]
    if "chosen" in rows[0]:
        return _preferences(rows, tokenizer, limits)
    if limits.loss == "none":
        return _prompts(rows, tokenizer, limits)
    if limits.loss == "assistant":
        return [_turns(row["messages"], tokenizer, limits) for row in rows]
    column = "messages" if "messages" in rows[0] else "completion"
    conversations = [
        row["messages"] if column == "messages" else row["prompt"] + row["completion"] for row in rows
    ]
    return _completions(rows, conversations, column, tokenizer, limits)


def _encoded(tokenizer: Any, conversations: Sequence[Any], generation: bool) -> list[list[int] | RowProblem]:
    """Token ids of each conversation, or the template's refusal."""
    texts = render_conversations(tokenizer, conversations, generation)
    ids = iter(encode(tokenizer, [text for text in texts if isinstance(text, str)]))
    return [next(ids) if isinstance(text, str) else text for text in texts]


def _whole(length: int, column: str, limits: Limits) -> Measured:
    """A row with the loss on everything: two tokens are needed, one to predict from the other."""
    limit = limits.tokens if limits.cuts and limits.tokens is not None else length
    left = min(length, limit)
    problem = None if left >= 2 else RowProblem(column, f"{left} token is left: there is nothing to predict")
    return Measured(length, length > limit, problem)


def _completions(
    rows: Sequence[Row], conversations: Sequence[Any], column: str, tokenizer: Any, limits: Limits
) -> list[Measured]:
    found: list[Measured] = []
    over: list[int] = []
    full = _encoded(tokenizer, conversations, False)
    for index, ids in enumerate(full):
        if isinstance(ids, RowProblem):
            found.append(Measured(problem=ids))
            continue
        found.append(_whole(len(ids), column, limits))
        if found[-1].truncated and limits.loss == "completion" and limits.mode == "keep_start":
            over.append(index)
    # Only where a row is cut can the prompt leave no room, so only then it is tokenised too.
    prompts = _encoded(tokenizer, [rows[index]["prompt"] for index in over], True)
    for index, prompt in zip(over, prompts, strict=True):
        problem = prompt if isinstance(prompt, RowProblem) else _no_room(prompt, full[index], limits)
        if problem is not None:
            found[index] = Measured(found[index].tokens, True, problem)
    return found


def _no_room(prompt: Sequence[int], full: Any, limits: Limits) -> RowProblem | None:
    start = shared_length(prompt, full)
    if limits.tokens is None or start < limits.tokens:
        return None
    return RowProblem(
        "prompt",
        f"the prompt alone has {start} tokens, max_seq_length is {limits.tokens}: nothing of the completion is left",
    )


def _turns(messages: Any, tokenizer: Any, limits: Limits) -> Measured:
    """A conversation with the loss on each assistant turn."""
    try:
        ids, mask = assistant_mask(tokenizer, messages)
    except Exception as error:  # a template raises what it likes
        return Measured(problem=RowProblem("messages", f"the chat template refuses it: {error}"))
    limit = limits.tokens if limits.cuts and limits.tokens is not None else len(ids)
    left = mask[window(len(ids), limit, limits.mode)]
    problem = None
    if not any(left[1:]):
        problem = RowProblem("messages", f"no token of the assistant is left within max_seq_length {limit}")
    return Measured(len(ids), len(ids) > limit, problem)


def _prompts(rows: Sequence[Row], tokenizer: Any, limits: Limits) -> list[Measured]:
    found = []
    for ids in _encoded(tokenizer, [row["prompt"] for row in rows], True):
        if isinstance(ids, RowProblem):
            found.append(Measured(problem=ids))
            continue
        problem = None
        if limits.tokens is not None and len(ids) > limits.tokens:
            problem = RowProblem(
                "prompt",
                f"{len(ids)} tokens, {limits.tokens} are allowed (max_prompt_length, or what max_seq_length leaves "
                "beside max_completion_length)",
            )
        found.append(Measured(len(ids), False, problem))
    return found


def _preferences(rows: Sequence[Row], tokenizer: Any, limits: Limits) -> list[Measured]:
    sides = [
        _encoded(tokenizer, [row["prompt"] + row[side] for row in rows], False)
        for side in ("chosen", "rejected")
    ]
    limit = limits.tokens
    found: list[Measured] = []
    over: list[int] = []
    for index, (chosen, rejected) in enumerate(zip(*sides, strict=True)):
        refused = next((ids for ids in (chosen, rejected) if isinstance(ids, RowProblem)), None)
        if isinstance(chosen, RowProblem) or isinstance(rejected, RowProblem):
            found.append(Measured(problem=refused))
            continue
        longest, shortest = max(len(chosen), len(rejected)), min(len(chosen), len(rejected))
        too_long = limit is not None and longest > limit
        problem = None
        if too_long and limits.drops_long:
            column = "chosen" if len(chosen) == longest else "rejected"
            problem = RowProblem(
                column, f"{longest} tokens, max_seq_length is {limit}: such rows are not used"
            )
        elif chosen == rejected:
            problem = RowProblem("rejected", "chosen and rejected are the same tokens")
        elif limit is not None and shortest >= limit:
            over.append(index)
            if limits.mode == "keep_end" and chosen[-limit:] == rejected[-limit:]:
                problem = _equal_within(limit)
        found.append(Measured(longest, too_long, problem))
    if limits.mode == "keep_start":
        _refuse_filled(rows, over, sides, found, tokenizer, limits)
    return found


def _equal_within(limit: int | None) -> RowProblem:
    return RowProblem("rejected", f"chosen and rejected are equal in the {limit} tokens of max_seq_length")


def _refuse_filled(
    rows: Sequence[Row],
    over: Sequence[int],
    sides: Any,
    found: list[Measured],
    tokenizer: Any,
    limits: Limits,
) -> None:
    """Rows whose prompt fills the limit, or whose sides differ only beyond it."""
    prompts = _encoded(tokenizer, [rows[index]["prompt"] for index in over], True)
    for index, prompt in zip(over, prompts, strict=True):
        chosen, rejected = sides[0][index], sides[1][index]
        problem: RowProblem | None
        if isinstance(prompt, RowProblem):
            problem = prompt
        else:
            start = min(shared_length(prompt, chosen), shared_length(prompt, rejected))
            problem = _no_room(prompt[:start], chosen, limits)
            if problem is None and chosen[: limits.tokens] == rejected[: limits.tokens]:
                problem = _equal_within(limits.tokens)
        if problem is not None:
            found[index] = Measured(found[index].tokens, found[index].truncated, problem)
