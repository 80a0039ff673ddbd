"""Defaults that depend on the rest of the configuration: on the algorithm, on LoRA or full, on other fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath
from typing import Any

from aligntune_core.algorithms import Algorithm, Default
from aligntune_core.config.schema.sections import Config

ROOT = "aligntune_output"


def fill(config: Config, algorithm: Algorithm, chosen: Collection[str]) -> Config:
    """A copy with the defaults that depend on neither device nor rows; ``chosen`` are the paths that the caller set."""
    filled = config
    defaults = {}
    for path, value, reason in _defaults(config, algorithm, chosen):
        defaults[path] = value
        if path not in chosen:
            filled = filled.decided(path, value, reason)
    filled._defaults = defaults
    return filled


def _defaults(
    config: Config, algorithm: Algorithm, chosen: Collection[str]
) -> Iterator[tuple[str, Any, str]]:
    kind, how = ("full", "full fine-tuning") if config.peft.enabled is False else ("lora", "LoRA")
    yield "peft.enabled", True, "default: LoRA"
    yield "peft.target_modules", "all-linear", "default: all linear projections"
    yield "optim.num_epochs", 3.0, "default (transformers)"
    for path, value in algorithm.defaults.items():
        if isinstance(value, Default):
            yield path, getattr(value, kind), f"default for {algorithm.name} with {how} ({value.source})"
        else:
            yield path, value, f"default for {algorithm.name}"
    yield "optim.eval_batch_size", config.optim.batch_size, "default: batch_size"
    yield "run.data_seed", config.run.seed, "default: seed"
    yield "run.output_dir", _default_output_dir(config), "default: algorithm and model"
    yield "data.completion_only_loss", True, "default: where rows have a completion"
    yield "run.eval_steps", config.run.logging_steps, "default: logging_steps"
    yield "run.eval_strategy", *_eval_strategy(config, chosen)
    if algorithm.generates:
        yield from _lengths(config, chosen)
    if algorithm.fill:
        yield from algorithm.fill(config)


def has_eval(config: Config) -> bool:
    """Whether there are held-out rows."""
    data = config.data
    return any(value is not None for value in (data.eval_dataset, data.eval_split, data.eval_share))


def _eval_strategy(config: Config, chosen: Collection[str]) -> tuple[str, str]:
    if not has_eval(config):
        return "no", "default: there are no held-out rows"
    if config.run.load_best_model_at_end and config.run.save_strategy in ("steps", "epoch"):
        return config.run.save_strategy, "default: save_strategy, for load_best_model_at_end"
    if config.run.evals_per_epoch is not None:
        return "steps", "default: evals_per_epoch is given"
    if "run.eval_steps" in chosen:
        return "steps", "default: eval_steps is given"
    return "epoch", "default: there are held-out rows"


def _lengths(config: Config, chosen: Collection[str]) -> Iterator[tuple[str, Any, str]]:
    """Prompt and completion share max_seq_length; what was not given makes room for what was."""
    completion = getattr(config.parameters, "max_completion_length", None)
    prompt = getattr(config.parameters, "max_prompt_length", None)
    limit = config.data.max_seq_length
    if completion is None or completion + (prompt or 1) <= limit:
        return
    if "data.max_seq_length" not in chosen:
        yield "data.max_seq_length", completion + (prompt or completion), "default: prompt and completion"
    elif "parameters.max_completion_length" not in chosen:
        room = limit - prompt if prompt else limit // 2
        if room > 0:
            yield "parameters.max_completion_length", room, "default: what max_seq_length leaves"


def output_dir(config: Config) -> str:
    """The run folder of a configuration that is not resolved yet."""
    return config.run.output_dir or _default_output_dir(config)


def upload_name(config: Config) -> str:
    """The repository that ``push_to_hub`` means: by default called as the run folder is."""
    return config.run.hub_model_id or _slug(Path(output_dir(config)).resolve())


def _default_output_dir(config: Config) -> str:
    """Named by algorithm and model, below the working directory."""
    return str(PurePath(ROOT) / f"{config.algorithm}-{_slug(config.model.name)}")


def _slug(model: Any) -> str:
    """The last part of a hub id or path, fit for a folder name; an object in memory by what it was loaded from."""
    name = (
        model
        if isinstance(model, (str, PurePath))
        else getattr(getattr(model, "config", None), "_name_or_path", "")
    )
    last = re.split(r"[/\\]", str(name).rstrip("/\\"))[-1] or type(model).__name__
    return re.sub(r"[^\w.-]+", "-", last).strip("-.") or "model"
