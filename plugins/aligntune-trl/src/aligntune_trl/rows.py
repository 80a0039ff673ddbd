"""Canonical rows as TRL (1.14 to 1.16) will have them: how long, which it would drop, and tokens where it takes them.

TRL's rules, which are foreseen here: SFT cuts at ``max_length`` and drops rows without a label; DPO drops rows whose
prompt fills ``max_length`` (keep_start) and cuts the others; reward training drops rows longer than ``max_length``.
SFTTrainer and RewardTrainer train on rows that come as tokens, so those are tokenised here and not again. DPOTrainer
has no such door, and prompts of algorithms that generate are rendered when their turn comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aligntune_core.toolkit import (
    RowProblem,
    TokenSequence,
    find_algorithm,
    limit_of,
    sequences,
    too_long_prompt,
)
from aligntune_core.types import LossOn, RowTokens

if TYPE_CHECKING:
    from aligntune_core import Config, Prepared

IGNORED = -100
"""The label of a token without loss."""

Judged = tuple[int, bool, RowProblem | None]
"""Tokens before truncation, whether TRL cuts them, and why it could not use them."""


def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, prepared: Prepared
) -> list[RowTokens]:
    """One answer a row; with tokens for SFT and for reward training."""
    algorithm = find_algorithm(config.algorithm)
    limit = limit_of(config, algorithm, loss)
    handed = algorithm.supervised or algorithm.head == "score"
    answers = []
    for row in sequences(rows, loss, prepared.tokenizer):
        if isinstance(row, RowProblem):
            answers.append(RowTokens(problem=row.reason, column=row.column))
            continue
        if "chosen" in row:
            length, cut, problem = _pair(row["chosen"], row["rejected"], limit)
        elif loss == "none":
            length, cut, problem = _prompt(row["row"], limit)
        else:
            length, cut, problem = _single(row["row"], _column(rows[0]), loss, limit)
        answers.append(
            RowTokens(
                length=length,
                truncated=cut,
                problem=problem.reason if problem else "",
                column=problem.column if problem else "",
                remark=next((sequence.remark for sequence in row.values() if sequence.remark), ""),
                columns=_columns(row) if handed and problem is None else None,
            )
        )
    return answers


def _column(row: Mapping[str, Any]) -> str:
    return next(name for name in ("text", "messages", "completion", "input_ids") if name in row)


def _columns(row: Mapping[str, TokenSequence]) -> dict[str, list[int]]:
    """The columns that TRL takes for rows that are tokenised already; it cuts them itself."""
    if "chosen" in row:
        return {"chosen_ids": row["chosen"].ids, "rejected_ids": row["rejected"].ids}
    ids, mask = row["row"].ids, row["row"].mask
    return {
        "input_ids": ids,
        "labels": [token if on else IGNORED for token, on in zip(ids, mask, strict=True)],
    }


def _prompt(prompt: TokenSequence, limit: Any) -> Judged:
    length = len(prompt.ids)
    if limit.tokens is None or length <= limit.tokens:
        return length, False, None
    return length, False, RowProblem("prompt", too_long_prompt(length, limit.tokens))


def _single(row: TokenSequence, column: str, loss: LossOn, limit: Any) -> Judged:
    """A row of SFT: TRL cuts it, and drops it where no label is left."""
    length = len(row.ids)
    part = limit.part(length)
    problem = None
    if loss == "assistant":
        # The first token is predicted from nothing.
        if not any(row.mask[part][1:]):
            within = length if limit.tokens is None else limit.tokens
            problem = RowProblem(
                "messages", f"no token of the assistant is left within max_seq_length {within}"
            )
    elif len(row.ids[part]) < 2:
        problem = RowProblem(column, f"{len(row.ids[part])} token is left: there is nothing to predict")
    elif loss == "completion" and limit.mode == "keep_start" and part.stop < length:
        problem = _no_room(row.prompt, limit)
    return length, limit.tokens is not None and length > limit.tokens, problem


def _no_room(prompt: int, limit: Any) -> RowProblem | None:
    if prompt < limit.tokens:
        return None
    return RowProblem(
        "prompt",
        f"the prompt alone has {prompt} tokens, max_seq_length is {limit.tokens}: nothing of the completion is left",
    )


def _pair(chosen: TokenSequence, rejected: TokenSequence, limit: Any) -> Judged:
    """A preference row: reward training drops a long one, DPO cuts both sides of it."""
    longest, shortest = sorted((len(chosen.ids), len(rejected.ids)), reverse=True)
    long = limit.tokens is not None and longest > limit.tokens
    if long and limit.long_rows != "cut":
        column = "chosen" if len(chosen.ids) == longest else "rejected"
        reason = f"{longest} tokens, max_seq_length is {limit.tokens}: such rows are not used"
        return longest, True, RowProblem(column, reason)
    if chosen.ids == rejected.ids:
        return longest, long, RowProblem("rejected", "chosen and rejected are the same tokens")
    if limit.tokens is None or shortest < limit.tokens:
        return longest, long, None
    problem = None
    if limit.mode == "keep_start":
        problem = _no_room(min(chosen.prompt, rejected.prompt), limit)
    kept = [side.ids[limit.part(len(side.ids))] for side in (chosen, rejected)]
    if problem is None and kept[0] == kept[1]:
        reason = f"chosen and rejected are equal in the {limit.tokens} tokens of max_seq_length"
        problem = RowProblem("rejected", reason)
    return longest, long, problem
