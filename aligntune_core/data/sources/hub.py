"""Datasets of the hub, and their loader's errors in our words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aligntune_core.data.sources.folders import nearest_path
from aligntune_core.errors import DataError
from aligntune_core.model import hub


def load(name: str, split: str, *, config_name: str | None, token: str | None, streaming: bool) -> Any:
    """Load one whole split of a hub dataset, at its default revision: ``model.revision`` is the model's.

    Raises:
        DataError: unknown, private, gated or unreachable dataset; unknown configuration or split.
    """
    from datasets import config

    near = nearest_path(Path(name))
    hub.check(
        "dataset",
        name,
        revision=None,
        token=token,
        cached=lambda: os.path.isdir(os.path.join(config.HF_DATASETS_CACHE, name.replace("/", "___"))),
        error=DataError,
        hint=f' Did you mean the local "{near}"?' if near else "",
    )
    return load_known(name, split, config_name=config_name, token=token, streaming=streaming)


def load_known(name: str, split: str, *, config_name: str | None, token: str | None, streaming: bool) -> Any:
    """As ``load``, for a dataset that is known to be there."""
    from datasets import load_dataset

    try:
        return load_dataset(name, config_name, split=split, token=token, streaming=streaming)
    except (ValueError, OSError) as error:
        raise _explained(name, split, config_name, error) from error


def _explained(name: str, split: str, config_name: str | None, error: Exception) -> DataError:
    """The loader's error in our words: which keyword to change."""
    text = str(error)
    if "Config name is missing" in text:
        return DataError(f'dataset "{name}" has several configurations; choose one with config_name=. {text}')
    if "BuilderConfig" in text and "not found" in text:
        return DataError(f'dataset "{name}" has no configuration "{config_name}". {text}')
    if "Unknown split" in text or "Bad split" in text:
        return DataError(f'dataset "{name}" has no split "{split}"; choose one with split=. {text}')
    return DataError(f'dataset "{name}" could not be loaded: {text}')
