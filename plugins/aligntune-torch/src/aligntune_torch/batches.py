"""Rows with canonical columns -> token ids with a loss mask -> the batches of each optimiser step, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor

from aligntune_torch.losses import IGNORED

Sample = dict[str, list[int]]
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Encoder:
    """Tokenises rows.

    Attributes:
        tokenizer: of the policy.
        max_length: tokens a sample keeps.
        truncation_mode: "keep_start" or "keep_end".
        completion_only: whether a prompt is left out of the SFT loss.
    """

    tokenizer: Any
    max_length: int
    truncation_mode: str
    completion_only: bool

    def samples(self, row: Mapping[str, Any]) -> list[Sample]:
        """One sample for a row of SFT; two, chosen and rejected, for a pair of DPO."""
        if "messages" in row and self.completion_only:
            return [self._turns(row["messages"])]
        if "prompt" not in row:
            return [self._sample(self._ids(self._ended(row.get("messages", row.get("text")))), 0)]
        prompt = self.prompt(row["prompt"])
        answers = [row[name] for name in ("completion", "chosen", "rejected") if name in row]
        both = [self._ids(row["prompt"] + self._ended(answer)) for answer in answers]
        # The two answers of a pair start at the same token, even where one merged with the prompt's last.
        start = min(_common(prompt, ids) for ids in both)
        return [self._sample(ids, start if self.completion_only or len(both) > 1 else 0) for ids in both]

    def prompt(self, prompt: Any) -> list[int]:
        """A prompt as generation sees it."""
        return self._ids(prompt, add_generation_prompt=True)

    def _ids(self, text: Any, **template: Any) -> list[int]:
        if isinstance(text, str):
            return list(self.tokenizer(text)["input_ids"])
        ids = self.tokenizer.apply_chat_template(text, tokenize=True, return_dict=True, **template)
        return list(ids["input_ids"])

    def _ended(self, text: Any) -> Any:
        """A plain text ends with the end-of-sequence token; a conversation is ended by its template."""
        end = self.tokenizer.eos_token
        return text + end if isinstance(text, str) and not text.endswith(end) else text

    def _turns(self, messages: Any) -> Sample:
        """A whole conversation with the loss on each turn of the assistant, which the template marks."""
        found = self.tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = list(found["input_ids"]), found["assistant_masks"]
        return self.cut(ids, [i if on else IGNORED for i, on in zip(ids, mask, strict=True)])

    def _sample(self, ids: list[int], start: int) -> Sample:
        return self.cut(ids, [IGNORED] * start + ids[start:])

    def cut(self, ids: list[int], labels: list[int]) -> Sample:
        """What is left of a sample within ``max_length``."""
        part = (
            slice(self.max_length) if self.truncation_mode == "keep_start" else slice(-self.max_length, None)
        )
        return {"input_ids": ids[part], "labels": labels[part], "attention_mask": [1] * len(ids[part])}


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common prefix."""
    different = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(different, min(len(first), len(second)))


def collate(rows: Sequence[Sequence[Sample]], pad_token_id: int) -> Batch:
    """Pad the rows' samples on the right; pairs become all chosen, then all rejected."""
    samples = [row[i] for i in range(len(rows[0])) for row in rows]
    longest = max(len(s["input_ids"]) for s in samples)
    fill = {"input_ids": pad_token_id, "labels": IGNORED, "attention_mask": 0}
    return {
        key: torch.tensor([s[key] + [value] * (longest - len(s[key])) for s in samples])
        for key, value in fill.items()
    }


@dataclass(frozen=True)
class Batches:
    """Which rows each optimiser step takes.

    Attributes:
        rows: how many there are.
        size: rows a micro-batch.
        accumulation: micro-batches a step; the last step of an epoch takes those that are left.
        seed: an epoch's order is the permutation that this seed and the epoch's number give.
    """

    rows: int
    size: int
    accumulation: int
    seed: int

    @property
    def steps_an_epoch(self) -> int:
        return ceil(ceil(self.rows / self.size) / self.accumulation)

    def after(self, step: int) -> Iterator[tuple[float, list[list[int]]]]:
        """The micro-batches of each step after ``step``, without end; before them the epoch that it reaches."""
        epoch, done = divmod(step, self.steps_an_epoch)
        while True:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            order = torch.randperm(self.rows, generator=generator).tolist()
            micro = [order[i : i + self.size] for i in range(0, self.rows, self.size)]
            for index in range(done, self.steps_an_epoch):
                start = index * self.accumulation
                part = micro[start : start + self.accumulation]
                yield epoch + (start + len(part)) / len(micro), part
            epoch, done = epoch + 1, 0
