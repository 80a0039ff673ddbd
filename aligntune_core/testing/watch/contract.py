"""The run contract, by hand: order of samples, schedule, tokens. Short and plain, to be compared with.

torch is imported inside the functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COMPLETIONS = ("completion", "chosen", "rejected")
"""Canonical columns whose text follows the prompt, in the order in which a loss takes them."""


@dataclass(frozen=True)
class Sample:
    """One sequence of tokens."""

    ids: tuple[int, ...]  # its tokens, cut to ``data.max_seq_length``
    start: int  # index of the first token that is in the loss


def batches(count: int, config: Mapping[str, Any]) -> list[list[list[int]]]:
    """For each optimiser step, its micro-batches of row numbers.

    Every epoch takes all rows in the order of the permutation that ``run.data_seed`` plus the epoch's number gives; the
    last step of an epoch takes the micro-batches that are left.
    """
    import torch

    size, accumulation = config["optim.batch_size"], config["optim.gradient_accumulation_steps"]
    steps: list[list[list[int]]] = []
    epoch = 0
    while len(steps) < config["optim.max_steps"]:
        generator = torch.Generator().manual_seed(config["run.data_seed"] + epoch)
        order = torch.randperm(count, generator=generator).tolist()
        micro = [order[i : i + size] for i in range(0, count, size)]
        steps += [micro[i : i + accumulation] for i in range(0, len(micro), accumulation)]
        epoch += 1
    return steps[: config["optim.max_steps"]]


def learning_rate(step: int, config: Mapping[str, Any]) -> float:
    """The learning rate of optimiser step ``step``, counted from 0."""
    peak: float = config["optim.learning_rate"]
    warmup: int = config["optim.warmup_steps"]
    total: int = config["optim.max_steps"]
    if step < warmup:
        return peak * step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    match config["optim.lr_scheduler"]:
        case "linear":
            return peak * (1 - progress)
        case "cosine":
            return peak * (1 + math.cos(math.pi * progress)) / 2
    raise ValueError(f"no formula here for {config['optim.lr_scheduler']}")


def samples(row: Mapping[str, Any], tokenizer: Any, config: Mapping[str, Any]) -> list[Sample]:
    """The sequences of a conversational row, one for each of its completions. The template is applied once."""
    prompt = ids_of(tokenizer, row["prompt"], add_generation_prompt=True)
    sequences = []
    for column in COMPLETIONS:
        if column in row:
            ids = ids_of(tokenizer, [*row["prompt"], *row[column]])
            start = len(prompt) if column != "completion" or config["data.completion_only_loss"] else 0
            sequences.append(_cut(ids, start, config["data.max_seq_length"], config["data.truncation_mode"]))
    return sequences


def longest(row: Mapping[str, Any], tokenizer: Any) -> int:
    """Tokens of a row, uncut: of its longer completion with the prompt, or of the prompt alone."""
    conversations = [[*row["prompt"], *row[column]] for column in COMPLETIONS if column in row]
    alone = row.get("messages", row.get("prompt"))
    return max(len(ids_of(tokenizer, messages)) for messages in conversations or [alone])


def ids_of(tokenizer: Any, messages: Any, **more: Any) -> list[int]:
    """The tokens of a conversation by the chat template."""
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **more)["input_ids"])


def _cut(ids: list[int], start: int, length: int, mode: str) -> Sample:
    if mode == "keep_start":
        return Sample(tuple(ids[:length]), start)
    return Sample(tuple(ids[-length:]), max(0, start - max(0, len(ids) - length)))


def logps(model: Any, sample: Sample) -> Any:
    """Log-probability of each token of a sample that is in the loss."""
    import torch

    ids = torch.tensor([sample.ids], device=model.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, :-1].float()
    every = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    return every[max(0, sample.start - 1) :]
