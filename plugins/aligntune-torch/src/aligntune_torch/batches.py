"""Rows with canonical columns -> token ids with a loss mask -> padded batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aligntune_torch.losses import IGNORED

if TYPE_CHECKING:
    from aligntune_core.config import ResolvedConfig

Sample = dict[str, list[int]]


def _ids(tokenizer: Any, text: Any, **template: Any) -> list[int]:
    if isinstance(text, str):
        return list(tokenizer(text)["input_ids"])
    return list(tokenizer.apply_chat_template(text, tokenize=True, return_dict=True, **template)["input_ids"])


def _ended(text: Any, tokenizer: Any) -> Any:
    """A plain text ends with the end-of-sequence token; a conversation is ended by its template."""
    if isinstance(text, str) and not text.endswith(tokenizer.eos_token):
        return text + tokenizer.eos_token
    return text


def prompt_ids(tokenizer: Any, prompt: Any) -> list[int]:
    """Token ids of a prompt as generation sees it."""
    if isinstance(prompt, str):
        return _ids(tokenizer, prompt)
    return _ids(tokenizer, prompt, add_generation_prompt=True)


def _answer(tokenizer: Any, prompt: Any, completion: Any) -> tuple[list[int], list[int]]:
    """Token ids of prompt and answer together, and of the prompt alone."""
    return _ids(tokenizer, prompt + _ended(completion, tokenizer)), prompt_ids(tokenizer, prompt)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))


def _sample(ids: list[int], start: int, config: ResolvedConfig) -> Sample:
    return _cut(ids, [IGNORED] * start + ids[start:], config)


def _cut(ids: list[int], labels: list[int], config: ResolvedConfig) -> Sample:
    length = config.data.max_seq_length
    part = slice(None, length) if config.data.truncation_mode == "keep_start" else slice(-length, None)
    return {"input_ids": ids[part], "labels": labels[part]}


def sft_sample(row: Mapping[str, Any], tokenizer: Any, config: ResolvedConfig) -> list[Sample]:
    """One sample a row."""
    if "messages" in row and config.data.completion_only_loss:  # the loss is on each turn of the assistant
        found = tokenizer.apply_chat_template(
            row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = list(found["input_ids"]), found["assistant_masks"]
        return [_cut(ids, [i if on else IGNORED for i, on in zip(ids, mask, strict=True)], config)]
    if "prompt" not in row:
        ids = _ids(tokenizer, row["messages"] if "messages" in row else _ended(row["text"], tokenizer))
        return [_sample(ids, 0, config)]
    ids, prompt = _answer(tokenizer, row["prompt"], row["completion"])
    return [_sample(ids, _common(prompt, ids) if config.data.completion_only_loss else 0, config)]


def dpo_samples(row: Mapping[str, Any], tokenizer: Any, config: ResolvedConfig) -> list[Sample]:
    """Two samples a row: prompt with the chosen, then with the rejected answer; they share the prompt's length."""
    chosen, prompt = _answer(tokenizer, row["prompt"], row["chosen"])
    rejected, _ = _answer(tokenizer, row["prompt"], row["rejected"])
    start = min(_common(prompt, chosen), _common(prompt, rejected))
    return [_sample(chosen, start, config), _sample(rejected, start, config)]


MAKERS: dict[str, Callable[[Mapping[str, Any], Any, Any], list[Sample]]] = {
    "sft": sft_sample,
    "dpo": dpo_samples,
}


def tokenize(rows: Iterable[Mapping[str, Any]], tokenizer: Any, config: ResolvedConfig) -> list[list[Sample]]:
    """Every row as its samples."""
    make = MAKERS[config.algorithm]
    return [make(row, tokenizer, config) for row in rows]


class Collator:
    """Pads a list of rows' samples on the right; DPO rows become all chosen, then all rejected."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, rows: Sequence[Sequence[Sample]]) -> dict[str, Tensor]:
        samples = [row[i] for i in range(len(rows[0])) for row in rows]
        longest = max(len(s["input_ids"]) for s in samples)

        def padded(key: str, fill: int) -> Tensor:
            return torch.tensor([s[key] + [fill] * (longest - len(s[key])) for s in samples])

        mask = torch.tensor(
            [[1] * len(s["input_ids"]) + [0] * (longest - len(s["input_ids"])) for s in samples]
        )
        return {
            "input_ids": padded("input_ids", self._pad),
            "labels": padded("labels", IGNORED),
            "attention_mask": mask,
        }
