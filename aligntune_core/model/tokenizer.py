"""The tokenizer of a model: its own, its base's, or the one that was named. transformers is imported inside."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.errors import ConfigError
from aligntune_core.model.source import ADAPTER_FILE, adapter_config, check_base, check_source
from aligntune_core.model.template import template_text, with_values
from aligntune_core.wording import a_type, did_you_mean, listed, root_cause

if TYPE_CHECKING:
    from aligntune_core.config.schema.weights import ModelConfig

logger = logging.getLogger("aligntune")

_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_tokenizer(model: ModelConfig) -> Any:
    """The tokenizer of ``model``: ``model.tokenizer``, by name or in memory, else the model's own.

    An adapter folder's own tokenizer is taken before its base's; of a model in memory, that of the name it was loaded
    from. ``model.chat_template`` replaces the tokenizer's template, which reads ``model.chat_template_kwargs``. A
    tokenizer in memory is copied.

    Raises:
        ConfigError: none could be loaded, or the template is not Jinja; the cause is chained.
    """
    template = None if model.chat_template is None else template_text(model.chat_template)
    source = model.tokenizer
    if source is None or isinstance(source, (str, os.PathLike)):
        tokenizer = _loaded_tokenizer(model)
    elif callable(getattr(source, "apply_chat_template", None)):
        tokenizer = copy.deepcopy(source)
    else:
        raise ConfigError(
            f"tokenizer_name (model.tokenizer) is {a_type(source)}; give a hub id, a folder or a transformers tokenizer"
        )
    if template is not None:
        tokenizer.chat_template = template
    if model.new_tokens:
        tokenizer.add_tokens([token for token in model.new_tokens if token not in tokenizer.get_vocab()])
    for name in ("eos_token", "pad_token"):
        if (token := getattr(model, name)) is not None:
            _check_token(tokenizer, name, token)
            setattr(tokenizer, name, token)
    if model.chat_template_kwargs:
        _set_values(tokenizer, model.chat_template_kwargs)
    return tokenizer


def _check_token(tokenizer: Any, name: str, token: str) -> None:
    """Raise ConfigError for what is no single token of the tokenizer."""
    if token not in tokenizer.get_vocab():
        raise ConfigError(
            f"model.{name}={token!r} is no token of the tokenizer.{did_you_mean(token, tokenizer.get_vocab())} Name "
            "one that it has; new_tokens adds others"
        )


def check_padding(tokenizer: Any, size: int | None) -> None:
    """Give a tokenizer without a padding token its end-of-sequence token, and refuse one beyond the embedding.

    Args:
        tokenizer: changed; padding never enters a loss.
        size: rows of the model's embedding; None: not known.

    Raises:
        ConfigError: batches could not be padded.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if size is not None and tokenizer.pad_token_id >= size:
        raise ConfigError(
            f"the padding token {tokenizer.pad_token} is token {tokenizer.pad_token_id}, and the model's embedding has "
            f"{size} rows; name another with pad_token"
        )


def embedding_rows(model_config: Any) -> int | None:
    """Rows of a model's token embedding, as its transformers configuration says; None where it does not."""
    size = getattr(model_config.get_text_config(), "vocab_size", None)
    return size if isinstance(size, int) and size > 0 else None


def _set_values(tokenizer: Any, values: Mapping[str, Any]) -> None:
    """Let the tokenizer's template read these values."""
    if not isinstance(tokenizer.chat_template, str):
        raise ConfigError(
            "model.chat_template_kwargs: the tokenizer has no chat template that could read "
            f"{listed(values)}; name one with chat_template="
        )
    tokenizer.chat_template = with_values(tokenizer.chat_template, values)


def check_ends(model: ModelConfig, tokenizer: Any) -> None:
    """Raise ConfigError for a tokenizer without a token that ends a text."""
    if tokenizer.eos_token is None:
        raise ConfigError(
            f"the tokenizer of {model.name!r} has no end-of-sequence token, so a model would not learn to stop; name "
            "another with tokenizer_name"
        )


def _loaded_tokenizer(model: ModelConfig) -> Any:
    from transformers import AutoTokenizer

    source, revision = tokenizer_source(model)
    token = model.token.get_secret_value() if model.token else None
    check_source(source, revision, token)
    try:
        return AutoTokenizer.from_pretrained(
            source, revision=revision, token=token, trust_remote_code=model.trust_remote_code
        )
    except ImportError as error:
        # transformers names the module that it imports, not the library that is broken.
        below = root_cause(error)
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
    """The name or folder that the tokenizer is loaded from, and its revision.

    Raises:
        ConfigError: a model in memory that does not say where it came from.
    """
    if model.tokenizer is not None:
        return model.tokenizer, None
    if not isinstance(model.name, (str, os.PathLike)):
        return _name_of(model.name), model.revision
    return own_tokenizer(os.fspath(model.name), model.revision)


def own_tokenizer(name: str, revision: str | None) -> tuple[str, str | None]:
    """Where a model's own tokenizer is, and its revision: an adapter folder that has none means its base's.

    Raises:
        ConfigError: an adapter without one that names no base.
    """
    adapter = adapter_config(name)
    if adapter is None or any((Path(name) / file).exists() for file in _TOKENIZER_FILES):
        return name, revision
    base = adapter.get("base_model_name_or_path")
    if not base:
        raise ConfigError(
            f"{Path(name) / ADAPTER_FILE} names no base_model_name_or_path and the folder has no tokenizer. "
            "Name one with tokenizer_name (model.tokenizer)."
        )
    check_base(name, str(base))
    return str(base), adapter.get("revision")


def _name_of(model: Any) -> str:
    """The name that a model in memory was loaded from, as its configuration states it."""
    config = getattr(model, "config", None)
    name = getattr(config, "_name_or_path", None) or getattr(model, "name_or_path", None)
    if isinstance(name, str) and name:
        return name
    raise ConfigError(
        f"the model in memory ({type(model).__name__}) does not say where it was loaded from, "
        "so its tokenizer is not known. Name one with tokenizer_name (model.tokenizer)."
    )
