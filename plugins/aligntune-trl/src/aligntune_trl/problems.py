"""What cannot be run, told from the configuration alone: no device, no library, no model is looked at. Light."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from os import PathLike
from typing import Any

from aligntune_core.toolkit import did_you_mean, find_algorithm, listed, named
from aligntune_trl.algorithms.recipe import Recipe, find

# Figures that the evaluation of every algorithm has.
COMMON_FIGURES = ("loss", "runtime", "samples_per_second", "steps_per_second", "num_tokens", "entropy",
                  "aux_loss")  # fmt: skip


def problems(config: Any) -> list[str]:
    """One sentence for each.

    Args:
        config: validated, not resolved.
    """
    own = config.optim.gradient_checkpointing == "unsloth"
    return [
        *(['gradient_checkpointing="unsloth" is for backend="unsloth"; take True'] if own else []),
        *shared(config),
    ]


def shared(config: Any) -> Iterator[str]:
    """Those of every backend that trains with TRL."""
    yield from _packages(config)
    yield from _schedule(config)
    yield from _in_memory(config)
    yield from _merge(config)
    recipe = find(config.algorithm)
    if recipe is not None:
        yield from _metric(config, recipe)
        yield from _reference(config, recipe)
        yield from recipe.problems(config)


def _packages(config: Any) -> Iterator[str]:
    kernel = config.model.attn_implementation
    if kernel == "flash_attention_2" and find_spec("flash_attn") is None:
        yield (
            f"{named('model.attn_implementation')}: {kernel!r} needs the flash-attn package, which is not installed "
            'here; take "sdpa"'
        )
    if config.optim.use_liger_kernel and find_spec("liger_kernel") is None:
        yield "use_liger_kernel needs the liger-kernel package: pip install liger-kernel"


def _schedule(config: Any) -> Iterator[str]:
    data = config.data
    held_out = any(value is not None for value in (data.eval_dataset, data.eval_split, data.eval_share))
    evaluated = held_out and config.run.eval_strategy != "no"
    if config.optim.lr_scheduler == "reduce_lr_on_plateau" and not evaluated:
        yield (
            f"{named('optim.lr_scheduler')}: 'reduce_lr_on_plateau' follows the held-out loss: give eval_dataset or "
            "eval_split"
        )


def _in_memory(config: Any) -> Iterator[str]:
    """How weights are read, where they are not."""
    if isinstance(config.model.name, (str, PathLike)):
        return
    if config.model.quantization is not None:
        yield "quantization: the model is in memory already; quantise it when loading it, or pass its path"
    if config.model.device_map is not None:
        yield "device_map: the model is in memory already; place it when loading it, or pass its path"


def _merge(config: Any) -> Iterator[str]:
    if config.peft.merge_adapter and config.model.quantization is not None:
        yield QUANTISED_MERGE


QUANTISED_MERGE = (
    "merge_adapter: merging into 4-bit weights rounds the adapter away; leave merge_adapter out to continue the "
    "adapter, or load the base unquantised"
)


def _metric(config: Any, recipe: Recipe) -> Iterator[str]:
    metric = config.run.metric_for_best_model
    if metric is None or not recipe.native_figures:
        return
    theirs = {*COMMON_FIGURES, *recipe.native_figures}
    if recipe.metric(metric).removeprefix("eval_") not in theirs:
        names = theirs | set(recipe.figures)
        yield (
            f"{named('run.metric_for_best_model')}: {config.algorithm} has no figure {metric!r}."
            f"{did_you_mean(metric.removeprefix('eval_'), names)} Known: {listed(sorted(names))}"
        )


def _reference(config: Any, recipe: Recipe) -> Iterator[str]:
    """What an adapter's switched-off base cannot stand for."""
    adapted = config.peft.enabled is not False
    if getattr(config.parameters, "sync_ref_model", False) and adapted:
        yield "sync_ref_model: with LoRA the reference is the base model; use_peft=False gives it one of its own"
    compares = find_algorithm(config.algorithm).compares(config.parameters)
    if not compares or not adapted or config.peft.bias == "none":
        return
    if config.model.quantization is not None:
        yield quantised_biases(config)
    elif not recipe.copies_policy:
        yield (
            f"lora_bias={config.peft.bias!r}: the KL of {config.algorithm} needs a reference; biases that train "
            'beside an adapter stay on when it is switched off; take lora_bias="none" or beta=0'
        )


def quantised_biases(config: Any) -> str:
    """Why biases cannot train beside an adapter on quantised weights where there is a reference."""
    return (
        f"lora_bias: with {config.algorithm} the reference needs the untrained biases in a copy; quantised "
        "weights have none"
    )
