"""Tokens that are added to a vocabulary: rows of the embedding for them, and what trains those."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aligntune_core.config.schema.sections import Config

logger = logging.getLogger("aligntune")


def grown_rows(config: Config, tokenizer: Any, rows: int | None) -> int | None:
    """Rows of the embedding once ``model.new_tokens`` have theirs; None where it is not known."""
    if rows is None or not config.model.new_tokens:
        return rows
    return max(rows, len(tokenizer))


def grow(model: Any, config: Config, tokenizer: Any) -> None:
    """Give the model rows for ``model.new_tokens``, drawn near the mean of the others, and say so.

    Args:
        model: a plain model, changed in place.
        config: resolved configuration.
        tokenizer: with the new tokens.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    size = grown_rows(config, tokenizer, rows)
    if size is not None and size > rows:
        model.resize_token_embeddings(size, mean_resizing=True)
        logger.info(f"new_tokens: the embedding has {size} rows now, {rows} before")
        # Its file must hold the rows, whatever peft can find out of the base.
        model.aligntune_resized = True
    if config.model.new_tokens and config.peft.enabled and not config.peft.modules_to_save:
        logger.warning(
            "new_tokens: an adapter leaves the embedding as it is, so the rows of the new tokens do not train; "
            'modules_to_save=["embed_tokens", "lm_head"] (by the names of this model) trains it whole'
        )
