"""Datasets of the hub: asked for once and quickly, so that no network is a sentence, not half a minute of retries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aligntune_core.data.folders import nearest_path
from aligntune_core.errors import DataError

PROBE_SECONDS = 10.0


def load(
    name: str,
    split: str,
    *,
    config_name: str | None,
    revision: str | None,
    token: str | None,
    streaming: bool,
) -> Any:
    """Load one whole split of a hub dataset.

    Returns:
        datasets.Dataset: an ``IterableDataset`` when streaming.

    Raises:
        DataError: unknown, private, gated or unreachable dataset; unknown configuration or split.
    """
    problem = _probe(name, revision, token)
    if problem is not None and not _is_cached(name):
        raise problem
    return load_known(
        name, split, config_name=config_name, revision=revision, token=token, streaming=streaming
    )


def load_known(
    name: str,
    split: str,
    *,
    config_name: str | None,
    revision: str | None,
    token: str | None,
    streaming: bool,
) -> Any:
    """As ``load``, for a dataset that is known to be there."""
    from datasets import load_dataset

    try:
        return load_dataset(
            name, config_name, split=split, revision=revision, token=token, streaming=streaming
        )
    except (ValueError, OSError) as error:
        raise _explained(name, split, config_name, error) from error


def _probe(name: str, revision: str | None, token: str | None) -> DataError | None:
    """Ask the hub for the dataset once. None: it answered."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        HfApi().dataset_info(name, revision=revision, token=token, timeout=PROBE_SECONDS)
    except HFValidationError as error:
        raise DataError(
            f'"{name}" is neither a file or folder here nor a possible hub id: {error}'
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403, 404):
            raise _not_found(name, revision, status) from error
        return _unreachable(name, f"the hub answered {status}")
    except OfflineModeIsEnabled:
        return _unreachable(name, "offline mode is on (HF_HUB_OFFLINE)")
    except (
        Exception
    ) as error:  # the http client has its own family of connection errors, which changed with versions
        return _unreachable(name, f"{type(error).__name__}: {error}".strip(": "))
    return None


def _not_found(name: str, revision: str | None, status: int | None) -> DataError:
    at = f' at revision "{revision}"' if revision else ""
    if status == 403:
        return DataError(
            f'dataset "{name}" is gated: accept its terms on the hub, then pass token= or log in.'
        )
    return DataError(
        f'the hub has no dataset "{name}"{at}, or it is private (pass token= or log in).{_local_hint(name)}'
    )


def _unreachable(name: str, cause: str) -> DataError:
    return DataError(
        f'dataset "{name}" was looked for on the hub, which cannot be reached: {cause}. It is not in the local cache '
        f"either. Give a local file or folder, or connect and try again.{_local_hint(name)}"
    )


def _local_hint(name: str) -> str:
    near = nearest_path(Path(name))
    return f' Did you mean the local "{near}"?' if near else ""


def _is_cached(name: str) -> bool:
    """Whether the ``datasets`` cache holds something of this dataset."""
    from datasets import config

    return os.path.isdir(os.path.join(config.HF_DATASETS_CACHE, name.replace("/", "___")))


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
