"""Embeddings that an adapter brings along: of another size than its base's where tokens were added."""

from __future__ import annotations

import logging
from typing import Any

from aligntune_core.toolkit import ConfigError

logger = logging.getLogger("aligntune")

_FILES = ("adapter_model.safetensors", "adapter_model.bin")
# How architectures call the two; what peft writes of a whole one ends so.
_NAMES = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings", "tok_embeddings")


def adapter_rows(adapter: str | None, hub: dict[str, Any]) -> int | None:
    """Rows of the embeddings that an adapter holds whole; None where it holds none.

    Args:
        adapter: folder or hub id; None: there is no adapter.
        hub: arguments of calls that may reach the hub.

    Raises:
        ConfigError: its embeddings differ in size.
    """
    shapes = {} if adapter is None else _shapes(adapter, hub)
    rows = {shape[0] for name, shape in shapes.items() if len(shape) == 2 and _is_embedding(name)}
    # (rank, rows) of an adapter on an embedding that is not held whole itself.
    rows |= {shape[1] for name, shape in shapes.items() if name.endswith("lora_embedding_A")}
    if len(rows) > 1:
        raise ConfigError(
            f"model_name: the embeddings in the adapter {adapter} have {sorted(rows)} rows; they must be of one size. "
            "Merge it where it was trained, and pass the merged model"
        )
    return rows.pop() if rows else None


def resize(model: Any, rows: int | None) -> None:
    """Give the base the size of the embeddings that its adapter holds, and say so.

    Args:
        model: the base without its adapter.
        rows: as ``adapter_rows`` says; None: it is right as it is.
    """
    before = model.get_input_embeddings().weight.shape[0]
    if rows is None or rows == before:
        return
    # Their values come with the adapter.
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.aligntune_resized = True
    logger.info(
        f"The adapter was trained with {rows} tokens, its base has {before}: the embedding is resized"
    )


def _is_embedding(name: str) -> bool:
    parts = name.replace(".modules_to_save", "").replace(".base_layer", "").split(".")
    return len(parts) > 1 and parts[-1] == "weight" and parts[-2] in _NAMES


def _shapes(adapter: str, hub: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the adapter's tensors by name, without their values where the file allows it."""
    from transformers.utils import cached_file

    for name in _FILES:
        file = cached_file(adapter, name, _raise_exceptions_for_missing_entries=False, **hub)
        if file is None:
            continue
        if name.endswith(".bin"):
            import torch

            state = torch.load(file, map_location="meta", weights_only=True)
            return {key: tuple(value.shape) for key, value in state.items()}
        from safetensors import safe_open

        with safe_open(file, framework="pt") as tensors:
            return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
    return {}
