"""Rows as tokens, judged before weights load."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aligntune_core.toolkit import RowProblem, TokenSequence, sequences
from aligntune_core.types import LossOn, RowTokens
from aligntune_torch.batches import Encoder, Sample
from aligntune_torch.losses import IGNORED

if TYPE_CHECKING:
    from aligntune_core import Config


def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, tokenizer: Any
) -> list[RowTokens]:
    """One answer a row, with its tokens: the engine cuts and pads them, nothing else."""
    limit = config.data.max_seq_length or sys.maxsize
    cut = Encoder(tokenizer, limit, config.data.truncation_mode, loss in ("completion", "assistant"))
    return [
        RowTokens(problem=entry.reason, column=entry.column)
        if isinstance(entry, RowProblem)
        else _judged(row, entry, cut)
        for row, entry in zip(rows, sequences(rows, loss, tokenizer), strict=True)
    ]


def _judged(row: Mapping[str, Any], entry: Mapping[str, TokenSequence], cut: Encoder) -> RowTokens:
    columns = tokens_of(entry)
    length = max(len(sequence.ids) for sequence in entry.values())
    whole = replace(cut, max_length=sys.maxsize).samples(columns)
    problem, column = _problem(row, whole, cut.samples(columns), cut.max_length)
    return RowTokens(
        length=length,
        truncated=length > cut.max_length,
        problem=problem,
        column=column,
        remark=next((sequence.remark for sequence in entry.values() if sequence.remark), ""),
        columns=None if problem else columns,
    )


def tokens_of(entry: Mapping[str, TokenSequence]) -> dict[str, list[int]]:
    """The columns of a row's tokens: ids and labels, of both sides of a pair, which start at the same token."""
    if "row" in entry:
        row = entry["row"]
        labels = [token if on else IGNORED for token, on in zip(row.ids, row.mask, strict=True)]
        return {"input_ids": row.ids, "labels": labels}
    start = min(sequence.prompt for sequence in entry.values())
    columns = {}
    for side, sequence in entry.items():
        columns[f"{side}_ids"] = sequence.ids
        columns[f"{side}_labels"] = [IGNORED] * start + sequence.ids[start:]
    return columns


def _problem(
    row: Mapping[str, Any], samples: Sequence[Sample], left: Sequence[Sample], limit: int
) -> tuple[str, str]:
    """Why nothing can be learnt from what is left of a row, and the column at fault; empty texts where it can."""
    for sample, part in zip(samples, left, strict=True):
        # The first token is predicted from nothing.
        if any(label != IGNORED for label in part["labels"][1:]):
            continue
        if "prompt" in row:
            prompt = next((i for i, label in enumerate(sample["labels"]) if label != IGNORED), 0)
            return (
                f"the prompt alone has {prompt} tokens, max_seq_length is {limit}: nothing of the completion is left",
                "prompt",
            )
        column = next(name for name in ("messages", "text", "input_ids") if name in row)
        if IGNORED in part["labels"]:
            return f"no token of the assistant is left within max_seq_length {limit}", column
        return f"{len(part['labels'])} token is left: there is nothing to predict", column
    if len(samples) == 1 or left[0]["input_ids"] != left[1]["input_ids"]:
        return "", ""
    if samples[0]["input_ids"] == samples[1]["input_ids"]:
        return "chosen and rejected are the same tokens", "rejected"
    return f"chosen and rejected are equal in the {limit} tokens of max_seq_length", "rejected"
