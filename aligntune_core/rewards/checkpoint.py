"""Reading a reward model's weights and tokenizer, and refusing what is no reward model. Heavy: imports transformers."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from aligntune_core.errors import ConfigError
from aligntune_core.model.source import adapter_config, check_base, check_folder, check_source
from aligntune_core.wording import listed

_HOW = 'Train one with algorithm="reward", or name a sequence-classification model with one output'


def load_classifier(name: str, dtype: str, hub: dict[str, Any]) -> Any:
    """Load a model with one output, or a LoRA adapter on one with its adapter merged in.

    Args:
        name: folder or hub id.
        dtype: as transformers takes it.
        hub: revision, token, trust_remote_code.

    Raises:
        ConfigError: it has not one output, or its head is not in the checkpoint.
    """
    if os.path.isfile(os.path.join(name, "adapter_config.json")):
        return _load_adapter(name, dtype, hub)
    from transformers import AutoConfig

    check_outputs(AutoConfig.from_pretrained(name, **hub), name)
    model, missing = _load(name, dtype, hub)
    if missing:
        raise ConfigError(f"{name} is no reward model: its checkpoint lacks {listed(missing)}. {_HOW}.")
    return model


def check_name(name: str, hub: dict[str, Any]) -> None:
    """Refuse what is not there, and what its configuration says is no reward model; no weights are read.

    Args:
        name: folder or hub id.
        hub: revision, token, trust_remote_code.

    Raises:
        ConfigError: says which.
    """
    check_source(name, hub["revision"], hub["token"])
    if os.path.isdir(name):
        check_folder(Path(name))
        if (adapter := adapter_config(name)) is not None:  # its head is in its weights
            base = str(adapter.get("base_model_name_or_path") or "")
            check_base(name, base)
            check_source(base or None)
            return
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name, **hub)
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f'the configuration of "{name}" cannot be read: {reason}') from error
    check_outputs(config, name)


def check_outputs(config: Any, name: str) -> None:
    """Refuse a configuration that does not have exactly one output.

    Raises:
        ConfigError: says what the checkpoint is instead.
    """
    if config.num_labels != 1:
        made_for = listed(config.architectures or ())
        raise ConfigError(
            f"{name} is no reward model: its head has {config.num_labels} outputs (the checkpoint was made for "
            f"{made_for}), a reward has 1. {_HOW}."
        )


def load_tokenizer(given: Any, model: Any, hub: dict[str, Any]) -> Any:
    """The reward model's tokenizer, with a padding token, cutting at the start.

    Args:
        given: a tokenizer, a folder, a hub id, or None for the model's own.
        model: what was given as the model: a folder, a hub id or a module.
        hub: revision, token, trust_remote_code.

    Raises:
        ConfigError: a module whose tokenizer nobody knows, or a tokenizer that cannot pad.
    """
    from transformers import AutoTokenizer

    if given is not None and not isinstance(given, str):
        tokenizer = given
    else:
        source = given or (model if isinstance(model, str) else getattr(model.config, "_name_or_path", ""))
        if not source:
            raise ConfigError(
                "the tokenizer of a reward model in memory is not known: give RewardModel(model, tokenizer=...) from "
                "aligntune_core.rewards"
            )
        if os.path.isfile(os.path.join(source, "adapter_config.json")) and not _has_tokenizer(source):
            source = _base_of(source)
        tokenizer = AutoTokenizer.from_pretrained(source, **hub)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ConfigError("the reward model's tokenizer has neither a padding nor an end-of-text token")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.truncation_side = "left"  # the completion, at the end, is what is judged
    return tokenizer


def _load(name: str, dtype: str, hub: dict[str, Any]) -> tuple[Any, list[str]]:
    """A model with one output, and the names of weights that its checkpoint did not have."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of missing weights: the caller judges them
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            name, num_labels=1, dtype=dtype, output_loading_info=True, **hub
        )
    finally:
        logging.set_verbosity(verbosity)
    return model, sorted(info["missing_keys"])


def _load_adapter(folder: str, dtype: str, hub: dict[str, Any]) -> Any:
    from peft import PeftModel, load_peft_weights

    # The revision is the adapter's, not its base model's.
    model, missing = _load(_base_of(folder), dtype, {**hub, "revision": None})
    saved = list(load_peft_weights(folder, device="cpu"))
    lacking = [name for name in missing if not any(key.endswith(name) for key in saved)]
    if lacking:
        raise ConfigError(
            f"{folder} is no reward model: neither this adapter nor its base has trained weights for "
            f"{listed(lacking)}. {_HOW}."
        )
    with warnings.catch_warnings():  # peft still asks for an attribute by its old name
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        return PeftModel.from_pretrained(model, folder).merge_and_unload()


def _base_of(folder: str) -> str:
    from peft import PeftConfig

    return str(PeftConfig.from_pretrained(folder).base_model_name_or_path)


def _has_tokenizer(folder: str) -> bool:
    return any(os.path.isfile(os.path.join(folder, f)) for f in ("tokenizer.json", "tokenizer_config.json"))
