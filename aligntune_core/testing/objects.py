"""Values of fields that need transformers to be made. Imports it: only the worker process uses this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, LlamaForSequenceClassification, TrainerCallback


def callback() -> Any:
    """A callback that does nothing."""
    return TrainerCallback()


def reward_model(base: Path, folder: Path) -> str:
    """Write a reward model with random weights, of the shape of ``base``; returns its folder."""
    if not folder.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            LlamaForSequenceClassification(AutoConfig.from_pretrained(base, num_labels=1)).save_pretrained(
                folder
            )
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return str(folder)
