"""Core's own answers to the hooks that a backend may leave out; pluggy asks them last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aligntune_core.entrypoints import versions
from aligntune_core.hookspecs import hookimpl
from aligntune_core.model.device import torch_device
from aligntune_core.model.source import check_model
from aligntune_core.model.tokenizer import load_tokenizer
from aligntune_core.types import LossOn, Prepared, RowTokens

if TYPE_CHECKING:
    from aligntune_core.config import Config


@hookimpl(trylast=True)
def prepare(config: Config) -> Prepared:
    """Return torch's device and the model's tokenizer.

    Raises:
        ConfigError: the model is not there, or has no tokenizer.
    """
    check_model(config.model)
    return Prepared(
        device=torch_device(),
        tokenizer=load_tokenizer(config.model),
        versions=versions(("torch", "transformers", "tokenizers")),
    )


prepare_by_default = prepare


@hookimpl(trylast=True)
def planned() -> Mapping[str, Any]:
    """Return no values: what is in force then shows in ``Engine.effective`` alone."""
    return {}


@hookimpl(trylast=True)
def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, prepared: Prepared
) -> Sequence[RowTokens]:
    """Each row rendered with the chat template and held against ``max_seq_length``; see aligntune_core.data.lengths."""
    from aligntune_core.algorithms import find
    from aligntune_core.data import lengths

    return lengths.tokenize(rows, loss, config, find(config.algorithm), prepared.tokenizer)
