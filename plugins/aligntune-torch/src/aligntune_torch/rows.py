"""Rows as the engine's own encoder will see them, judged before weights load."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aligntune_core.types import LossOn, RowTokens
from aligntune_torch.batches import Encoder, Sample
from aligntune_torch.losses import IGNORED

if TYPE_CHECKING:
    from aligntune_core import Config


def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, tokenizer: Any
) -> list[RowTokens]:
    """One answer a row. The engine encodes the rows itself, so no tokens are handed over."""
    data = config.data
    whole = Encoder(tokenizer, sys.maxsize, data.truncation_mode, loss in ("completion", "assistant"))
    cut = Encoder(tokenizer, data.max_seq_length or sys.maxsize, data.truncation_mode, whole.completion_only)
    return [_judged(row, whole, cut) for row in rows]


def _judged(row: Mapping[str, Any], whole: Encoder, cut: Encoder) -> RowTokens:
    try:
        samples = whole.samples(row)
    except Exception as error:  # templates raise what they like; the reason goes into the report of the row
        return RowTokens(problem=f"the chat template refuses it: {error}")
    length = max(len(sample["input_ids"]) for sample in samples)
    left = [cut.cut(sample["input_ids"], sample["labels"]) for sample in samples]
    problem, column = _problem(row, samples, left, cut.max_length)
    return RowTokens(length=length, truncated=length > cut.max_length, problem=problem, column=column)


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
        if IGNORED in part["labels"]:
            return f"no token of the assistant is left within max_seq_length {limit}", "messages"
        column = "messages" if "messages" in row else "text"
        return f"{len(part['labels'])} token is left: there is nothing to predict", column
    if len(samples) == 1 or left[0]["input_ids"] != left[1]["input_ids"]:
        return "", ""
    if samples[0]["input_ids"] == samples[1]["input_ids"]:
        return "chosen and rejected are the same tokens", "rejected"
    return f"chosen and rejected are equal in the {limit} tokens of max_seq_length", "rejected"
