"""What Unsloth cannot take, or would change by itself: refused before weights load, where its arguments do not show it.

What its argument objects show (packing on a CPU, say) core sees by comparing ``planned`` with the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any

from aligntune_core.toolkit import ConfigError, a_type
from aligntune_trl import api

if TYPE_CHECKING:
    from aligntune_core import Device
    from aligntune_trl.api import Source

WHOLE = ("lm_head", "embed_tokens")
"""What Unsloth trains whole beside an adapter, normalisation layers apart."""


def problems(config: Any) -> list[str]:
    """What the configuration alone tells: one sentence for each.

    Args:
        config: validated, not resolved.
    """
    sentences = list(api.problems(config))
    if not isinstance(config.model.name, (str, PathLike)):
        sentences.append(
            f"model_name is {a_type(config.model.name)} in memory; Unsloth loads and patches models itself: "
            "save it (model.save_pretrained(FOLDER)) and give the folder"
        )
    if config.model.new_tokens:
        sentences.append(
            "model.new_tokens: the Unsloth backend adds no tokens; trl does, or add them to the model beforehand"
        )
    return sentences


def refuse(config: Any, device: Device, source: Source) -> None:
    """Check a resolved configuration.

    Raises:
        ConfigError: all problems at once, each with what to do.
    """
    rules = (_everywhere, _on_cpu if device.kind == "cpu" else _on_gpu)
    sentences = [sentence for rule in rules for sentence in rule(config, source)]
    if sentences:
        raise ConfigError(sentences)


def _everywhere(config: Any, source: Source) -> Iterator[str]:
    limit = getattr(source.model_config, "max_position_embeddings", None)
    if isinstance(limit, int) and config.data.max_seq_length > limit:
        yield (
            f"max_seq_length={config.data.max_seq_length}: the model has {limit} positions, and Unsloth would stretch "
            f'its rotary embedding to reach further; take {limit} or less, or backend="trl"'
        )


def _on_cpu(config: Any, source: Source) -> Iterator[str]:
    if config.data.packing:
        yield (
            "packing: Unsloth's CPU path has no attention that keeps packed rows apart and would turn it off; leave it "
            'out, or use backend="trl"'
        )
    if config.model.precision == "bf16":
        yield (
            'precision="bf16": Unsloth\'s CPU path turns it off; take "fp32", which "auto" means there, or '
            'backend="trl"'
        )
    if config.optim.gradient_checkpointing == "unsloth":
        yield 'gradient_checkpointing="unsloth" offloads from a GPU; on a CPU take True'
    quantization = config.model.quantization
    if quantization is None:
        return
    fixed = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    for name, value in fixed.items():
        if getattr(quantization, name) != value:
            yield f"quantization: on a CPU Unsloth takes {name}={value!r} only; leave it out"
    computed = {"bf16": "bfloat16", "fp32": "float32"}[config.model.precision]
    if quantization.bnb_4bit_compute_dtype != computed:
        yield (
            f"quantization: on a CPU Unsloth computes in the run's precision ({computed}); leave "
            "bnb_4bit_compute_dtype out"
        )


def _on_gpu(config: Any, source: Source) -> Iterator[str]:
    if api.scores(config) and source.adapter_config is not None:
        yield (
            "model_name is an adapter: a reward model on Unsloth starts from a whole model; merge the adapter first "
            '(save_model(merged=True)), or use backend="trl"'
        )
    if config.model.precision == "fp32":
        yield (
            'precision="fp32": on a GPU Unsloth\'s trainers switch autocast on by themselves; take "bf16" (or "fp16"), '
            'or use backend="trl"'
        )
    if not config.peft.enabled and config.model.precision == "fp16":
        yield 'precision="fp16" with use_peft=False has not been run on Unsloth; take "bf16", or use backend="trl"'
    whole = [
        m for m in config.peft.modules_to_save or () if m.rsplit(".", 1)[-1] not in WHOLE and "norm" not in m
    ]
    if config.peft.enabled and whole:
        yield (
            f"modules_to_save: Unsloth trains {', '.join(WHOLE)} and normalisation layers whole, not "
            f'{", ".join(whole)}; leave them out, or use backend="trl"'
        )
    optim = config.optim
    if config.run.eval_strategy != "no" and optim.eval_batch_size == 8 and optim.batch_size < 8:
        yield (
            "eval_batch_size=8 (the library's default) would be lowered to batch_size by Unsloth; take another, or "
            "leave it out"
        )
