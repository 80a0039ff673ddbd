"""Judge what ``model.name`` names before anything is loaded: a folder of weights, an adapter, or a hub id."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.errors import ConfigError
from aligntune_core.model import hub
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.config.schema.weights import ModelConfig

logger = logging.getLogger("aligntune")

ADAPTER_FILE = "adapter_config.json"
_WEIGHTS = (".safetensors", ".bin")
_NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")


def check_model(model: ModelConfig) -> None:
    """Refuse a model that is not there, or a folder that is none; warn of one without weights. One in memory passes.

    Raises:
        ConfigError: says what is missing, and the nearest that there is.
    """
    name = model.name
    if not isinstance(name, (str, os.PathLike)):
        return
    check_source(name, model.revision, model.token.get_secret_value() if model.token else None)
    if Path(name).is_dir():
        check_folder(Path(name))


def check_source(name: Any, revision: str | None = None, token: str | None = None) -> None:
    """Refuse a name that is neither a folder here nor a model that the hub, or its local cache, has.

    Raises:
        ConfigError: says which.
    """
    if not isinstance(name, (str, os.PathLike)):
        return
    path = Path(name)
    if path.parts[:1] == ("~",):
        raise ConfigError(f'"{name}": write the home folder out: {path.expanduser()}')
    if path.is_file():
        raise ConfigError(f'"{name}" is a file; a model is a folder with its config.json, or a hub id')
    if path.exists():
        return
    near = did_you_mean(path.name, _neighbours(path))
    if hub.looks_local(os.fspath(name)):
        raise ConfigError(f'there is no model folder "{name}".{near} Looked in {path.absolute().parent}.')
    hub.check(
        "model",
        os.fspath(name),
        revision=revision,
        token=token,
        cached=lambda: _is_cached(os.fspath(name), revision),
        error=ConfigError,
        hint=f"{near} Looked in {path.absolute().parent} too." if near else "",
    )


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds neither a model nor an adapter; warn of one without weights.

    Raises:
        ConfigError: says what it holds.
    """
    names = sorted(entry.name for entry in folder.iterdir())
    inner = [name for name in names if _has_configuration(folder / name)]
    also = f" Did you mean one of its own folders: {listed(inner)}?" if inner else ""
    if not _has_configuration(folder):
        content = f"holds {listed(names[:8])}" if names else "is empty"
        raise ConfigError(
            f'"{folder}" is no model folder: it has neither config.json nor {ADAPTER_FILE}; it {content}.{also}'
        )
    if not any(name.endswith(_WEIGHTS) and name not in _NO_WEIGHTS for name in names):
        # It is enough to plan with; only loading it would fail.
        weights, others = listed("*" + suffix for suffix in _WEIGHTS), listed(names[:8])
        logger.warning(
            f'"{folder}" holds no weights ({weights}), only {others}. Copy or download it again.{also}'
        )


def _has_configuration(folder: Path) -> bool:
    return any((folder / file).is_file() for file in ("config.json", ADAPTER_FILE))


def _neighbours(path: Path) -> list[str]:
    parent = path.absolute().parent
    return [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []


def _is_cached(name: str, revision: str | None) -> bool:
    """Whether the hub's local cache holds something that this repository could be loaded from."""
    from huggingface_hub import try_to_load_from_cache

    files = ("config.json", ADAPTER_FILE, "tokenizer_config.json", "tokenizer.json")
    return any(isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in files)


def located(name: str) -> str:
    """A folder's name as an absolute path, so that an adapter made of it names its base for every working directory."""
    return os.path.abspath(name) if Path(name).is_dir() else name


def check_base(adapter: str, base: str) -> None:
    """Refuse an adapter whose base is neither a folder here nor a model of the hub.

    Raises:
        ConfigError: names the adapter's file.
    """
    if Path(base).exists():
        return
    remedy = "Write there where the base model is now: a folder or a hub id."
    file = Path(adapter) / ADAPTER_FILE
    if hub.looks_local(base):
        raise ConfigError(
            f'{file}: base_model_name_or_path is "{base}", and there is no such folder. {remedy}'
        )
    try:
        check_source(base)
    except ConfigError as error:
        raise ConfigError(f'{file}: base_model_name_or_path is "{base}": {error} {remedy}') from error


def adapter_config(name: Any) -> Mapping[str, Any] | None:
    """The content of a local adapter folder's ``adapter_config.json``; None where ``name`` is no such folder.

    Raises:
        ConfigError: the file is there and is no JSON object.
    """
    if not isinstance(name, (str, os.PathLike)):
        return None
    file = Path(name) / ADAPTER_FILE
    if not file.is_file():
        return None
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file} is no valid JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{file} must hold a JSON object, not {type(settings).__name__}")
    return settings
