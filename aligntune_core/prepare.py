"""Core's default ``prepare`` hook: torch's device and the model's tokenizer. Plugins may use its parts.

torch and transformers are imported inside the functions.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.entrypoints import installed_version
from aligntune_core.errors import ConfigError, did_you_mean
from aligntune_core.hookspecs import hookimpl
from aligntune_core.types import Device, Prepared

if TYPE_CHECKING:
    from aligntune_core.config import Config
    from aligntune_core.config.tree import ModelConfig

__all__ = ["adapter_config", "load_tokenizer", "prepare", "torch_device", "versions"]

logger = logging.getLogger("aligntune")

ADAPTER_FILE = "adapter_config.json"
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


@hookimpl(trylast=True)
def prepare(config: Config) -> Prepared:
    """Answer for a backend that has no ``prepare`` of its own."""
    return Prepared(
        device=torch_device(),
        tokenizer=load_tokenizer(config.model),
        versions=versions(("torch", "transformers", "tokenizers")),
    )


def versions(names: Iterable[str]) -> dict[str, str]:
    """Distribution -> installed version, of those that are installed."""
    return {name: version for name in names if (version := installed_version(name)) is not None}


def torch_device() -> Device:
    """The device that torch would train on.

    A GPU that the machine seems to have but torch cannot use is told with a warning; ``ACCELERATE_USE_CPU``
    is obeyed, as accelerate obeys it.
    """
    import torch

    from aligntune_core.devices import probe

    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on"):
        return Device(kind="cpu", name="CPU (ACCELERATE_USE_CPU)")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        here = probe()
        if here.kinds[0] != "cpu":
            logger.warning(
                "torch %s cannot use the %s device here; training on the CPU. %s",
                torch.__version__,
                *_first(here),
            )
        return Device(kind="cpu", name="CPU")
    kind = accelerator.type
    module = getattr(torch, kind)
    properties = (
        module.get_device_properties(module.current_device())
        if hasattr(module, "get_device_properties")
        else None
    )
    return Device(
        kind=kind,
        name=str(getattr(properties, "name", kind)),
        bf16=_native_bf16(kind, module),
        count=torch.accelerator.device_count(),
        memory_bytes=int(getattr(properties, "total_memory", 0)),
    )


def _first(here: Any) -> tuple[str, Any]:
    return here.kinds[0], here


def _native_bf16(kind: str, module: Any) -> bool:
    """Whether bfloat16 compute is native there; unproven on Apple's GPUs, which train in float32."""
    if kind == "cuda":
        return bool(module.is_bf16_supported(including_emulation=False))
    return kind in ("xpu", "npu") and bool(module.is_bf16_supported())


def load_tokenizer(model: ModelConfig) -> Any:
    """The tokenizer of ``model``: of ``model.tokenizer``, else the model's own.

    An adapter folder's own tokenizer is taken before its base's; of a model in memory, that of the name it
    was loaded from. ``model.chat_template`` replaces the tokenizer's template.

    Raises:
        ConfigError: none could be loaded, or the template is not Jinja; the cause is chained.
    """
    from transformers import AutoTokenizer

    if model.chat_template is not None:
        _check_template(model.chat_template)
    source, revision = tokenizer_source(model)
    options: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    if revision is not None:
        options["revision"] = revision
    if model.token is not None:
        options["token"] = model.token.get_secret_value()
    _check_folder(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(
            f'no tokenizer could be loaded from "{source}": {reason} Check the path or hub id, '
            "or name another with tokenizer_name (model.tokenizer)."
        ) from error
    if model.chat_template is not None:
        tokenizer.chat_template = model.chat_template
    return tokenizer


def tokenizer_source(model: ModelConfig) -> tuple[str, str | None]:
    """Where the tokenizer is loaded from, and the revision there.

    Raises:
        ConfigError: a model in memory that does not say where it came from.
    """
    if model.tokenizer is not None:
        return model.tokenizer, None
    if not isinstance(model.name, (str, os.PathLike)):
        return _name_of(model.name), model.revision
    name = os.fspath(model.name)
    adapter = adapter_config(name)
    if adapter is None or any((Path(name) / file).exists() for file in _TOKENIZER_FILES):
        return name, model.revision
    base = adapter.get("base_model_name_or_path")
    if not base:
        raise ConfigError(
            f"{Path(name) / ADAPTER_FILE} names no base_model_name_or_path and the folder has no tokenizer. "
            "Name one with tokenizer_name (model.tokenizer)."
        )
    check_base(name, str(base))
    return str(base), adapter.get("revision")


def check_base(adapter: str, base: str) -> None:
    """Refuse an adapter whose base is a folder that is not there.

    Raises:
        ConfigError: names the adapter's file.
    """
    from aligntune_core.data.folders import looks_local

    if looks_local(base) and not Path(base).exists():
        raise ConfigError(
            f'{Path(adapter) / ADAPTER_FILE}: base_model_name_or_path is "{base}", and there is no such folder. '
            "Write there where the base model is now: a folder or a hub id."
        )


def adapter_config(name: Any) -> Mapping[str, Any] | None:
    """What a local adapter folder's ``adapter_config.json`` says; None where ``name`` is no such folder.

    Raises:
        ConfigError: the file is there and is no JSON object.
    """
    if not isinstance(name, (str, os.PathLike)):
        return None
    file = Path(name) / ADAPTER_FILE
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file} is no valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} must hold a JSON object, not {type(found).__name__}")
    return found


def _check_folder(name: Any) -> None:
    """Refuse a path that is not there, or a file: a hub id is looked for only where it may be one."""
    from aligntune_core.data.folders import looks_local

    if not isinstance(name, (str, os.PathLike)):
        return
    path = Path(name)
    if path.parts[:1] == ("~",):
        raise ConfigError(f'"{name}": write the home folder out: {path.expanduser()}')
    if path.is_file():
        raise ConfigError(f'"{name}" is a file; a model is a folder with its config.json, or a hub id')
    if not path.exists() and looks_local(os.fspath(name)):
        near = did_you_mean(path.name, _neighbours(path))
        raise ConfigError(f'there is no model folder "{name}".{near} Looked in {path.absolute().parent}.')


def _neighbours(path: Path) -> list[str]:
    parent = path.absolute().parent
    return [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []


def _name_of(model: Any) -> str:
    """Where a model in memory came from, by its own account."""
    config = getattr(model, "config", None)
    name = getattr(config, "_name_or_path", None) or getattr(model, "name_or_path", None)
    if isinstance(name, str) and name:
        return name
    raise ConfigError(
        f"the model in memory ({type(model).__name__}) does not say where it was loaded from, "
        "so its tokenizer is not known. Name one with tokenizer_name (model.tokenizer)."
    )


def _check_template(template: str) -> None:
    from jinja2 import Environment, TemplateSyntaxError

    if "{" not in template:
        raise ConfigError(
            f"model.chat_template must be the text of a Jinja template; {template[:60]!r} holds no expression"
        )
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except TemplateSyntaxError as error:
        # transformers' own "generation" block is no Jinja tag; the tokenizer knows it.
        if "generation" not in str(error.message):
            raise ConfigError(f"model.chat_template, line {error.lineno}: {error.message}") from error
