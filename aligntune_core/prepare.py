"""Core's default ``prepare`` hook: torch's device and the model's tokenizer. Plugins may use its parts.

torch and transformers are imported inside the functions.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.entrypoints import installed_version
from aligntune_core.errors import ConfigError, a_type, root_cause
from aligntune_core.hookspecs import hookimpl
from aligntune_core.model_folder import ADAPTER_FILE, adapter_config, check_base, check_model, check_source
from aligntune_core.types import Device, Prepared

if TYPE_CHECKING:
    from aligntune_core.config import Config
    from aligntune_core.config.tree import ModelConfig

__all__ = ["adapter_config", "check_model", "load_tokenizer", "prepare", "torch_device", "versions"]

logger = logging.getLogger("aligntune")

_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


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
    """The tokenizer of ``model``: ``model.tokenizer``, by name or in memory, else the model's own.

    An adapter folder's own tokenizer is taken before its base's; of a model in memory, that of the name it
    was loaded from. ``model.chat_template`` replaces the tokenizer's template. One in memory is copied.

    Raises:
        ConfigError: none could be loaded, or the template is not Jinja; the cause is chained.
    """
    if model.chat_template is not None:
        _check_template(model.chat_template)
    given = model.tokenizer
    if given is None or isinstance(given, (str, os.PathLike)):
        tokenizer = _loaded_tokenizer(model)
    elif callable(getattr(given, "apply_chat_template", None)):
        tokenizer = copy.deepcopy(given)
    else:
        raise ConfigError(
            f"tokenizer_name (model.tokenizer) is {a_type(given)}; give a hub id, a folder or a transformers tokenizer"
        )
    if model.chat_template is not None:
        tokenizer.chat_template = model.chat_template
    return tokenizer


def check_ends(model: ModelConfig, tokenizer: Any) -> None:
    """Refuse a tokenizer without a token that ends a text.

    Raises:
        ConfigError: it has none.
    """
    if tokenizer.eos_token is None:
        raise ConfigError(
            f"the tokenizer of {model.name!r} has no end-of-sequence token, so a model would not learn to stop; name "
            "another with tokenizer_name"
        )


def _loaded_tokenizer(model: ModelConfig) -> Any:
    from transformers import AutoTokenizer

    source, revision = tokenizer_source(model)
    options: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    if revision is not None:
        options["revision"] = revision
    if model.token is not None:
        options["token"] = model.token.get_secret_value()
    check_source(source, revision, options.get("token"))
    try:
        return AutoTokenizer.from_pretrained(source, **options)
    except ImportError as error:
        below = root_cause(error)  # transformers names the module that it wanted, not who broke it
        raise ConfigError(
            f'no tokenizer could be loaded from "{source}", since a library does not import: '
            f"{type(below).__name__}: {str(below).rstrip('.')}. `aligntune doctor` says which, and what mends it."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(
            f'no tokenizer could be loaded from "{source}": {reason} Check the path or hub id, '
            "or name another with tokenizer_name (model.tokenizer)."
        ) from error


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
