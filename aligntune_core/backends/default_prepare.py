"""Core's own ``prepare`` hook, for a backend that has none: torch's device and the model's tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core.entrypoints import versions
from aligntune_core.hookspecs import hookimpl
from aligntune_core.model.device import torch_device
from aligntune_core.model.source import check_model
from aligntune_core.model.tokenizer import load_tokenizer
from aligntune_core.types import Prepared

if TYPE_CHECKING:
    from aligntune_core.config import Config


@hookimpl(trylast=True)
def prepare(config: Config) -> Prepared:
    """Answer for a backend that has no ``prepare`` of its own.

    Raises:
        ConfigError: the model is not there, or has no tokenizer.
    """
    check_model(config.model)
    return Prepared(
        device=torch_device(),
        tokenizer=load_tokenizer(config.model),
        versions=versions(("torch", "transformers", "tokenizers")),
    )
