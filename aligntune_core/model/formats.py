"""Weights that are stored quantised: can this machine load them, and can an adapter be trained on them?

transformers' own quantisers answer both, each for its format. Heavy imports are inside.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_DEQUANTISE = (
    "Give a checkpoint of the same model with plain weights; where transformers can unpack these, load the model so "
    "(quantization_config with dequantize=True) and pass it in memory, or its folder once saved"
)


def weight_format_problems(model_config: Any, device: str, trained_packed: bool = True) -> list[str]:
    """Why a checkpoint's quantised weights cannot be loaded or trained here; at most one sentence.

    Args:
        model_config: transformers' configuration of it; it is not changed.
        device: kind of the device that they would be loaded to.
        trained_packed: whether the backend trains adapters on weights that stay packed.
    """
    settings = stored_format(model_config)
    if settings is None:
        return []
    where = f"model_name: the weights are stored quantised ({method_of(settings)})"
    try:
        with _quiet():
            quantizer = _checked_quantizer(settings, device)
            unpacked = getattr(quantizer.quantization_config, "dequantize", False)
            trainable = unpacked or bool(quantizer.is_trainable)
    except Exception as reason:  # each quantiser raises errors of its own, of its libraries' too
        return [f"{where}, which cannot be loaded here: {_sentence(reason)}"]
    if not trainable:
        return [f"{where}, a format that transformers cannot train an adapter on. {_DEQUANTISE}"]
    if not trained_packed and not unpacked:
        return [f"{where}; this backend trains on plain weights only. {_DEQUANTISE}, or take another backend"]
    return []


def stored_format(model_config: Any) -> Any:
    """The quantisation settings of a checkpoint, an object or a dict; None: plain weights."""
    for part in (model_config, model_config.get_text_config()):
        settings = getattr(part, "quantization_config", None)
        if settings:
            return settings
    return None


def method_of(settings: Any) -> str:
    """What a format is called: "gptq", "awq", "bitsandbytes"."""
    values = settings if isinstance(settings, Mapping) else vars(settings)
    method = values.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in values else "unnamed")
    return str(getattr(method, "value", method))


def _checked_quantizer(settings: Any, device: str) -> Any:
    """transformers' quantiser of a format, after it has looked at the machine and at the libraries it needs."""
    from transformers.quantizers import AutoHfQuantizer

    quantizer = AutoHfQuantizer.from_config(copy.deepcopy(settings), pre_quantized=True)
    place = None if device == "cpu" else {"": 0}
    quantizer.validate_environment(device_map=place, weights_only=True)
    return quantizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantisers' own hints, which speak of arguments that aligntune's users do not write."""
    from transformers.utils import logging as theirs

    level = theirs.get_verbosity()
    theirs.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)


def _sentence(reason: Exception) -> str:
    text = " ".join(str(reason).split()) or type(reason).__name__
    return text if text.endswith((".", "`", ")")) else f"{text}."
