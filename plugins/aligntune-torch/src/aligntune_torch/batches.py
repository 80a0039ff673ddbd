"""Tokens of rows with their labels -> the batches of each optimiser step, in their order."""

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
    """What is left of the rows' tokens, and where the loss is; tokens of a prompt.

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
        """One sample for the tokens of a row of SFT; two, chosen and rejected, for a pair of DPO."""
        if "input_ids" in row:
            labels = row["labels"] if self.completion_only else row["input_ids"]
            return [self.cut(row["input_ids"], labels)]
        return [self.cut(row[f"{side}_ids"], row[f"{side}_labels"]) for side in ("chosen", "rejected")]

    def prompt(self, prompt: Any) -> list[int]:
        """A prompt as generation sees it."""
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt)["input_ids"])
        ids = self.tokenizer.apply_chat_template(
            prompt, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        return list(ids["input_ids"])

    def cut(self, ids: list[int], labels: list[int]) -> Sample:
        """What is left of a sample within ``max_length``."""
        part = (
            slice(self.max_length) if self.truncation_mode == "keep_start" else slice(-self.max_length, None)
        )
        return {"input_ids": ids[part], "labels": labels[part], "attention_mask": [1] * len(ids[part])}


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
        shuffle: whether an epoch takes the rows in a random order, not in their own.
        seed: an epoch's order is the permutation that this seed and the epoch's number give.
    """

    rows: int
    size: int
    accumulation: int
    seed: int
    shuffle: bool = True

    @property
    def steps_an_epoch(self) -> int:
        return ceil(ceil(self.rows / self.size) / self.accumulation)

    def after(self, step: int) -> Iterator[tuple[float, list[list[int]]]]:
        """The micro-batches of each step after ``step``, without end; before them the epoch that it reaches."""
        epoch, done = divmod(step, self.steps_an_epoch)
        while True:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            shuffled = torch.randperm(self.rows, generator=generator).tolist()
            order = shuffled if self.shuffle else list(range(self.rows))
            micro = [order[i : i + self.size] for i in range(0, self.rows, self.size)]
            for index in range(done, self.steps_an_epoch):
                start = index * self.accumulation
                part = micro[start : start + self.accumulation]
                yield epoch + (start + len(part)) / len(micro), part
            epoch, done = epoch + 1, 0
