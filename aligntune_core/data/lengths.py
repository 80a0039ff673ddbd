"""Token lengths, and rows of which nothing is left to learn: core's answer to the hook ``tokenize``.

Plain on purpose: the row is rendered with the chat template and held against ``max_seq_length``, as the algorithm's
``long_rows`` says. What a library does beyond that is its plugin's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aligntune_core.data.encoding import TokenSequence, window
from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.tokens import sequences
from aligntune_core.types import LossOn, RowTokens

if TYPE_CHECKING:
    from aligntune_core.algorithms import Algorithm
    from aligntune_core.algorithms.base import LongRows
    from aligntune_core.config import Config

# Columns whose rows hold what is learnt, as the column at fault where nothing of it is left.
_ANSWERS = ("input_ids", "text", "messages", "completion", "chosen", "rejected")


@dataclass(frozen=True)
class Limit:
    """What is left of a row."""

    # it may have: ``max_seq_length``; of a prompt ``max_prompt_length``, or what a completion leaves; None: no
    # limit ("wrapped" packing cuts no row)
    tokens: int | None
    mode: str  # "keep_start" or "keep_end", where ``long_rows`` are cut
    long_rows: LongRows = "cut"

    def part(self, length: int) -> slice:
        """The part of a sequence that is left."""
        return window(length, length if self.tokens is None else self.tokens, self.mode)


def limit_of(config: Config, algorithm: Algorithm, loss: LossOn) -> Limit:
    """The limit that a configuration sets for an algorithm's rows."""
    data = config.data
    if loss == "none":
        prompt = getattr(config.parameters, "max_prompt_length", None)
        completion = getattr(config.parameters, "max_completion_length", None)
        if prompt is None and completion is not None:
            prompt = (data.max_seq_length or 0) - completion
        return Limit(prompt, "keep_start", "refuse")
    if not (data.packing and algorithm.supervised):
        return Limit(data.max_seq_length, data.truncation_mode, algorithm.long_rows)
    wrapped = data.packing_strategy == "wrapped"
    return Limit(None if wrapped else data.max_seq_length, "keep_start", algorithm.long_rows)


def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, algorithm: Algorithm, tokenizer: Any
) -> list[RowTokens]:
    """How long canonical rows are, which are cut, and of which nothing is left; nothing is known without tokenizer."""
    if tokenizer is None:
        return [RowTokens() for _ in rows]
    limit = limit_of(config, algorithm, loss)
    column = next((name for name in _ANSWERS if rows and name in rows[0]), "")
    return [_measured(row, column, loss, limit) for row in sequences(rows, loss, tokenizer)]


def _measured(
    row: dict[str, TokenSequence] | RowProblem, column: str, loss: LossOn, limit: Limit
) -> RowTokens:
    if isinstance(row, RowProblem):
        return RowTokens(problem=row.reason, column=row.column)
    longest = max(row, key=lambda name: len(row[name].ids))
    length = len(row[longest].ids)
    long = limit.tokens is not None and length > limit.tokens
    cut = limit.long_rows == "cut"
    problem = None
    if long and not cut and loss == "none":
        problem = RowProblem("prompt", too_long_prompt(length, limit.tokens))
    elif long and not cut:
        reason = f"{length} tokens, max_seq_length is {limit.tokens}: such rows are not used"
        problem = RowProblem(longest if longest in _ANSWERS else column, reason)
    elif loss != "none":
        problem = _nothing_left(row, column, loss, limit)
    if problem is None:
        remark = next((sequence.remark for sequence in row.values() if sequence.remark), "")
        return RowTokens(length=length, truncated=long and cut, remark=remark)
    return RowTokens(length=length, problem=problem.reason, column=problem.column)


def too_long_prompt(length: int, limit: int | None) -> str:
    """The problem of a prompt beyond what completions leave."""
    return (
        f"{length} tokens, {limit} are allowed (max_prompt_length, or what max_seq_length leaves beside "
        "max_completion_length)"
    )


def _nothing_left(
    row: Mapping[str, TokenSequence], column: str, loss: LossOn, limit: Limit
) -> RowProblem | None:
    """Why nothing can be learnt from what the limit leaves of a row."""
    for sequence in row.values():
        part = limit.part(len(sequence.ids))
        # The first token is predicted from nothing, so no loss is on it.
        if any(sequence.mask[part][1:]):
            continue
        if loss == "completion" and limit.tokens is not None and sequence.prompt >= limit.tokens:
            return RowProblem(
                "prompt",
                f"the prompt alone has {sequence.prompt} tokens, max_seq_length is {limit.tokens}: nothing of the "
                "completion is left",
            )
        if loss == "assistant":
            return RowProblem(
                "messages", f"no token of the assistant is left within max_seq_length {limit.tokens}"
            )
        if loss == "all":
            return RowProblem(column, f"{len(sequence.ids[part])} token is left: there is nothing to predict")
    if "chosen" not in row:
        return None
    chosen, rejected = row["chosen"].ids, row["rejected"].ids
    if chosen == rejected:
        return RowProblem("rejected", "chosen and rejected are the same tokens")
    if chosen[limit.part(len(chosen))] == rejected[limit.part(len(rejected))]:
        return RowProblem(
            "rejected", f"chosen and rejected are equal in the {limit.tokens} tokens of max_seq_length"
        )
    return None
