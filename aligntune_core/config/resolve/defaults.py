"""Defaults that depend on the rest of the configuration: on the algorithm, on LoRA or full, on other fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from aligntune_core.algorithms import Algorithm, Default
from aligntune_core.config.schema.sections import Config

ROOT = "aligntune_output"


@dataclass
class Filled:
    """A configuration with these defaults in it.

    Attributes:
        config: the configuration.
        values: config path -> the default it would have; only where it differs from the tree's own.
        reasons: config path -> why, for ``sources``.
        replaced: paths that were set, but to "auto".
    """

    config: Config
    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)


def fill(config: Config, algorithm: Algorithm, chosen: set[str]) -> Filled:
    """Fill in what does not depend on the device or the rows.

    Args:
        config: validated; may hold ``None`` and "auto".
        algorithm: of the run.
        chosen: paths that the caller set.
    """
    filled = Filled(config)
    for path, value, reason in _defaults(config, algorithm, chosen):
        filled.values[path] = value
        filled.reasons[path] = reason
        if path not in chosen:
            filled.config = replace(filled.config, path, value)
        elif path == "run.eval_strategy" and config.run.eval_strategy == "auto":
            filled.config = replace(filled.config, path, value)
            filled.replaced.add(path)
    return filled


def replace(config: Config, path: str, value: Any) -> Any:
    """A copy with one value changed; where values came from is kept."""
    section, _, name = path.rpartition(".")
    if not section:
        return config.model_copy(update={name: value})
    inner = getattr(config, section)
    return config.model_copy(update={section: inner.model_copy(update={name: value})})


def _defaults(config: Config, algorithm: Algorithm, chosen: set[str]) -> Iterator[tuple[str, Any, str]]:
    lora = config.peft.enabled is not False
    how = "LoRA" if lora else "full fine-tuning"
    yield "peft.enabled", True, "default: LoRA"
    yield "peft.target_modules", "all-linear", "default: all linear projections"
    yield "optim.num_epochs", 3.0, "default (transformers)"
    for path, value in algorithm.defaults.items():
        if isinstance(value, Default):
            yield (
                path,
                value.lora if lora else value.full,
                f"default for {algorithm.name} with {how} ({value.source})",
            )
        else:
            yield path, value, f"default for {algorithm.name}"
    yield "optim.eval_batch_size", config.optim.batch_size, "default: batch_size"
    yield "run.data_seed", config.run.seed, "default: seed"
    yield "run.output_dir", default_output_dir(config), "default: algorithm and model"
    yield "data.completion_only_loss", True, "default: where rows have a completion"
    yield "run.eval_steps", config.run.logging_steps, "default: logging_steps"
    yield "run.eval_strategy", *_eval_strategy(config, chosen)
    if algorithm.generates:
        yield from _lengths(config, chosen)
    if algorithm.fill:
        yield from algorithm.fill(config)


def has_eval(config: Config) -> bool:
    """Whether there are held-out rows."""
    return config.data.eval_dataset is not None or config.data.eval_split is not None


def _eval_strategy(config: Config, chosen: set[str]) -> tuple[str, str]:
    if not has_eval(config):
        return "no", "default: there are no held-out rows"
    if config.run.load_best_model_at_end and config.run.save_strategy in ("steps", "epoch"):
        return config.run.save_strategy, "default: save_strategy, for load_best_model_at_end"
    if "run.eval_steps" in chosen:
        return "steps", "default: eval_steps is given"
    return "epoch", "default: there are held-out rows"


def _lengths(config: Config, chosen: set[str]) -> Iterator[tuple[str, Any, str]]:
    """Prompt and completion share max_seq_length; what was not given makes room for what was."""
    parameters = config.parameters
    completion = getattr(parameters, "max_completion_length", None)
    prompt = getattr(parameters, "max_prompt_length", None)
    if completion is None:
        return
    if "data.max_seq_length" not in chosen:
        needed = completion + prompt if prompt else 2 * completion
        if completion + (prompt or 1) > config.data.max_seq_length:
            yield "data.max_seq_length", needed, "default: prompt and completion"
    elif (
        "parameters.max_completion_length" not in chosen
        and completion + (prompt or 1) > config.data.max_seq_length
    ):
        room = config.data.max_seq_length - prompt if prompt else config.data.max_seq_length // 2
        if room > 0:
            yield "parameters.max_completion_length", room, "default: what max_seq_length leaves"


def output_dir(config: Config) -> str:
    """The run folder of a configuration that is not resolved yet."""
    return config.run.output_dir or default_output_dir(config)


def default_output_dir(config: Config) -> str:
    """The run folder where none is given: named by algorithm and model, below the working directory."""
    return str(PurePath(ROOT) / f"{config.algorithm}-{_slug(config.model.name)}")


def _slug(model: Any) -> str:
    """The last part of a hub id or path, fit for a folder name; an object in memory by what it was loaded from."""
    text = (
        model
        if isinstance(model, (str, PurePath))
        else getattr(getattr(model, "config", None), "_name_or_path", "")
    )
    last = re.split(r"[/\\]", str(text).rstrip("/\\"))[-1] or type(model).__name__
    return re.sub(r"[^\w.-]+", "-", last).strip("-.") or "model"
