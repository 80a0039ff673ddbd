"""Weights: from a hub, a folder or memory; plain, 4-bit or pre-quantised; with an adapter continued or merged."""

from __future__ import annotations

from typing import Any

from aligntune_core import LoadedModel, Prepared
from aligntune_core.algorithms import find
from aligntune_trl import refuse, table
from aligntune_trl.algorithms import reward
from aligntune_trl.model import adapter, source
from aligntune_trl.model.source import Source
from aligntune_trl.online import rewards_bridge
from aligntune_trl.quiet import known_warnings_hidden, no_bars


@known_warnings_hidden()
def load(config: Any, prepared: Prepared) -> LoadedModel:
    """Load the policy.

    Args:
        config: resolved configuration.
        prepared: device and tokenizer.

    Returns:
        LoadedModel: a plain model, or a ``PeftModel`` whose adapter is continued.

    Raises:
        ConfigError: what was asked for does not fit the model.
    """
    found = source.find(config)
    refuse.refuse(config, prepared.device, found)
    if find(config.algorithm).scored_by == "rewards":
        rewards_bridge.build(config, prepared.tokenizer)  # what cannot be used shows before weights load
    model = found.base if found.in_memory else _from_pretrained(config, prepared, found)
    if found.in_memory:
        set_precision(model, config)
    if refuse.continued(config, found):
        model = _continued(model, config, found)
    elif found.adapter_config is not None:
        model = merged(model, config, found)
    return LoadedModel(model, prepared.tokenizer)


def load_arguments(config: Any) -> dict[str, Any]:
    """Keyword arguments of ``from_pretrained``, from the table."""
    load = table.write(config, "load")
    load["dtype"] = base_dtype(config)
    quantization = quantization_config(config)
    if quantization is not None:
        load["quantization_config"] = quantization
    return load


def quantization_config(config: Any) -> Any:
    """The library's quantisation settings, or None."""
    from transformers import BitsAndBytesConfig

    if config.model.quantization is None:
        return None
    return BitsAndBytesConfig(**table.write(config, "quantization"))


def base_dtype(config: Any) -> Any:
    """Number format of the frozen weights; a full fine-tune trains all of them and keeps float32 masters."""
    import torch

    if not config.peft.enabled:
        return torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[config.model.precision]


@no_bars()
def _from_pretrained(config: Any, prepared: Prepared, found: Source) -> Any:
    from transformers import AutoModelForCausalLM

    load = load_arguments(config)
    load["revision"] = found.revision
    given = {name: value for name, value in load.items() if value is not None}
    if prepared.device.kind == "cuda" and (found.quantised or config.model.quantization is not None):
        import torch

        # "One device", spelt out: quantised weights are made on the device and cannot be moved there later.
        given.setdefault("device_map", {"": torch.cuda.current_device()})
    if config.algorithm == "reward":
        return reward.load_classifier(found.base, config.run.seed, given)
    return AutoModelForCausalLM.from_pretrained(found.base, **given)


def _continued(model: Any, config: Any, found: Source) -> Any:
    from peft import PeftModel

    if found.in_memory:
        adapter.reopen(model)
        return model
    hub = source.hub_arguments(config, config.model.revision)
    if config.algorithm == "reward":
        return reward.with_adapter(model, str(found.adapter), hub)
    return PeftModel.from_pretrained(model, found.adapter, is_trainable=True, **hub)


def merged(model: Any, config: Any, found: Source) -> Any:
    """``model``, the adapter's base or the two in memory, with the adapter folded in."""
    from peft import PeftModel

    if not found.in_memory:
        hub = source.hub_arguments(config, config.model.revision)
        if config.algorithm == "reward":
            model = reward.with_adapter(model, str(found.adapter), hub)
        else:
            model = PeftModel.from_pretrained(model, found.adapter, **hub)
    return model.merge_and_unload(safe_merge=True)


def set_precision(model: Any, config: Any) -> None:
    """Give a model in memory the number format of the run contract; quantised weights stay as they are."""
    dtype = base_dtype(config)
    if not getattr(model, "is_quantized", False):
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.dtype != dtype:
                parameter.data = parameter.data.to(dtype)
