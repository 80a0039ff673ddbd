"""Weights: from a hub, a folder or memory; plain, 4-bit or pre-quantised; with an adapter continued or merged."""

from __future__ import annotations

from typing import Any

from aligntune_core import LoadedModel, Prepared
from aligntune_core.toolkit import find_algorithm
from aligntune_trl import table
from aligntune_trl.model import adapter, reward_head
from aligntune_trl.model.source import Source, continued, hub_arguments
from aligntune_trl.online import rewards_bridge
from aligntune_trl.quiet import known_warnings_hidden, no_bars
from aligntune_trl.state import State


@known_warnings_hidden()
def load(config: Any, prepared: Prepared) -> LoadedModel:
    """Load the policy.

    Args:
        config: resolved configuration.
        prepared: device and tokenizer.

    Returns:
        LoadedModel: a plain model, or a ``PeftModel`` whose adapter is continued.

    Raises:
        ConfigError: a reward cannot be used, or an adapter does not fit the model.
    """
    source = State.of(config, prepared).source
    if find_algorithm(config.algorithm).scored_by == "rewards":
        rewards_bridge.build(config, prepared.tokenizer)  # what cannot be used shows before weights load
    model = source.base if source.in_memory else _from_pretrained(config, prepared, source)
    name_body(model)
    if source.in_memory:
        set_precision(model, config)
    if continued(config, source):
        model = _continued(model, config, source)
    elif source.adapter_config is not None:
        model = merged(model, config, source)
    return LoadedModel(model, prepared.tokenizer)


def name_body(model: Any) -> None:
    """Let a language model that keeps its body under another name than its class says give it as ``base_model``.

    TRL runs the body and the output layer by themselves. The class of Llama 4's texts names a part that only the whole,
    which sees pictures, has.
    """
    if getattr(model, "base_model", model) is model and hasattr(model, "base_model_prefix"):
        model.base_model_prefix = _body(model) or model.base_model_prefix


def _body(model: Any) -> str | None:
    """Name of the part that is a model itself."""
    from transformers import PreTrainedModel

    return next((name for name, part in model.named_children() if isinstance(part, PreTrainedModel)), None)


def load_arguments(config: Any) -> dict[str, Any]:
    """Keyword arguments of ``from_pretrained``, from the table."""
    arguments = {**table.write(config, "load"), "dtype": base_dtype(config)}
    quantization = quantization_config(config)
    if quantization is not None:
        arguments["quantization_config"] = quantization
    return arguments


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
def _from_pretrained(config: Any, prepared: Prepared, source: Source) -> Any:
    from transformers import AutoModelForCausalLM

    arguments = {**load_arguments(config), "revision": source.revision}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    if prepared.device.kind == "cuda" and (source.quantised or config.model.quantization is not None):
        import torch

        # "One device", spelt out: quantised weights are made on the device and cannot be moved there later.
        arguments.setdefault("device_map", {"": torch.cuda.current_device()})
    if reward_head.scores(config):
        return reward_head.load_classifier(source.base, config.run.seed, arguments)
    return AutoModelForCausalLM.from_pretrained(source.base, **arguments)


def _continued(model: Any, config: Any, source: Source) -> Any:
    from peft import PeftModel

    if source.in_memory:
        adapter.reopen(model)
        return model
    hub = hub_arguments(config, config.model.revision)
    if reward_head.scores(config):
        return reward_head.with_adapter(model, str(source.adapter), hub)
    return PeftModel.from_pretrained(model, source.adapter, is_trainable=True, **hub)


def merged(model: Any, config: Any, source: Source) -> Any:
    """``model``, the adapter's base or the two in memory, with the adapter folded in."""
    from peft import PeftModel

    if not source.in_memory:
        hub = hub_arguments(config, config.model.revision)
        if reward_head.scores(config):
            model = reward_head.with_adapter(model, str(source.adapter), hub)
        else:
            model = PeftModel.from_pretrained(model, source.adapter, **hub)
    return model.merge_and_unload(safe_merge=True)


def set_precision(model: Any, config: Any) -> None:
    """Give a model in memory the number format of the run contract; quantised weights stay as they are."""
    dtype = base_dtype(config)
    if not getattr(model, "is_quantized", False):
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.dtype != dtype:
                parameter.data = parameter.data.to(dtype)
