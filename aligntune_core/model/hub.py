"""Ask the hub once and quickly, so that a wrong name or no network is a sentence and not a minute of retries."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from aligntune_core.errors import AligntuneError, ConfigError

logger = logging.getLogger("aligntune")

PROBE_SECONDS = 10.0

EXTENSIONS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".md", ".parquet", ".arrow")
"""Suffixes of the data files that are read; a name with one of them is no hub id."""


def looks_local(spec: str) -> bool:
    """Whether a name that does not exist here was meant as a path rather than as a hub id."""
    return (
        spec.startswith((".", "/", "~"))
        or "\\" in spec
        or spec.count("/") > 1
        or spec.lower().removesuffix(".gz").endswith((*EXTENSIONS, ".zip", ".xlsx", ".pkl", ".pt"))
    )


def check(
    kind: Literal["model", "dataset"],
    name: str,
    *,
    revision: str | None,
    token: str | None,
    cached: Callable[[], bool],
    error: type[AligntuneError],
    hint: str = "",
) -> None:
    """Refuse a hub id that the hub does not have, or that cannot be asked for and is not in the local cache.

    ``cached`` says whether that cache can answer; ``hint`` is a last sentence of the message, with a space before it.

    Raises:
        AligntuneError: of class ``error``; says whether it is unknown, private, gated or unreachable.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        _ask(kind, name, revision, token)
        return
    except HFValidationError as problem:
        reason = f'"{name}" is neither a file or folder here nor a possible hub id'
        raise error(f"{reason}: {problem}") from problem
    except HfHubHTTPError as problem:
        status = getattr(problem.response, "status_code", None)
        if status in (401, 403, 404):
            raise error(_not_found(kind, name, revision, status) + hint) from problem
        cause: Exception = problem
        reason = f"the hub answered {status}"
    except OfflineModeIsEnabled as problem:
        cause, reason = problem, "offline mode is on (HF_HUB_OFFLINE)"
    except Exception as problem:  # the http client's own connection errors have changed with its versions
        cause, reason = problem, f"{type(problem).__name__}: {problem}".strip(": ")
    if not cached():
        raise error(
            f'{kind} "{name}" was looked for on the hub, which cannot be reached: {reason}. It is not in the local '
            f"cache either. Give a local {'folder' if kind == 'model' else 'file or folder'}, or connect and try "
            f"again.{hint}"
        ) from cause
    if not isinstance(cause, OfflineModeIsEnabled):
        logger.warning(
            f'the hub cannot be reached ({reason}); going on with what the local cache has of {kind} "{name}". '
            "HF_HUB_OFFLINE=1 spares the hub library's retries, which may take minutes."
        )


def check_upload(repo: str, token: str | None) -> None:
    """Refuse an upload that cannot come about, before a run of hours rather than after it; the hub is not asked.

    Raises:
        ConfigError: no possible name, no access token, or offline mode.
    """
    from huggingface_hub import get_token, is_offline_mode
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as problem:
        raise ConfigError(
            f'hub_model_id: "{repo}" is no possible name of a repository: {problem}'
        ) from problem
    if is_offline_mode():
        raise ConfigError("push_to_hub=True: offline mode is on (HF_HUB_OFFLINE); take one of them back")
    if token is None and get_token() is None:
        raise ConfigError(
            f"push_to_hub=True: this machine is not logged in to the hub, so nothing could be uploaded to {repo}: run "
            "hf auth login, set HF_TOKEN, or pass token="
        )


@lru_cache(maxsize=32)  # a model is asked for as model and as tokenizer; a call that raised is not cached
def _ask(kind: str, name: str, revision: str | None, token: str | None) -> None:
    """Raise what the hub's client raises where it has no such repository, or cannot be reached."""
    from huggingface_hub import HfApi

    ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
    ask(name, revision=revision, token=token, timeout=PROBE_SECONDS)


def _not_found(kind: str, name: str, revision: str | None, status: int) -> str:
    at = f' at revision "{revision}"' if revision else ""
    if status == 403:
        return f'{kind} "{name}" is gated: accept its terms on the hub, then pass token= or log in.'
    return f'the hub has no {kind} "{name}"{at}, or it is private (pass token= or log in).'
