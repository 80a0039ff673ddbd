"""What no single field can say: settings that exclude or need each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from aligntune_core.algorithms import Algorithm
from aligntune_core.config.keywords import parameters_of
from aligntune_core.config.read.layers import Setting
from aligntune_core.config.read.translate import attention_problem
from aligntune_core.config.resolve import intervals, schedules
from aligntune_core.config.resolve.defaults import has_eval
from aligntune_core.config.schema.sections import Config
from aligntune_core.config.schema.weights import PeftConfig
from aligntune_core.config.values import equal, excerpt
from aligntune_core.fields import extra_of

Settings = Mapping[str, Setting]
_LOAD_BEST = "load_best_model_at_end=True"
_HELD_OUT = "held-out rows: give eval_dataset, eval_split or eval_share"


def problems(config: Config, algorithm: Algorithm, settings: Settings) -> list[str]:
    """One sentence for each contradiction."""
    sentences = [*_empty(config), *_model(config), *_peft(config, settings), *_evaluation(config)]
    sentences += [*intervals.problems(config), *schedules.problems(config)]
    if config.data.streaming and config.optim.max_steps is None:
        sentences.append("streaming=True needs max_steps: the number of rows is not known beforehand")
    sentences += _rows(config)
    if algorithm.generates:
        sentences += _online(config)
    if algorithm.problems:
        sentences += algorithm.problems(config)
    return sentences


def _rows(config: Config) -> Iterator[str]:
    """Which rows are held out, and in which order the others come."""
    data = config.data
    if data.datasets is not None:
        yield from _mixture(config)
    elif data.dataset is None:
        yield "dataset_name is missing: give a hub id, a local file or folder, or rows; or several with datasets"
    if data.eval_share is not None:
        for name in ("eval_dataset", "eval_split"):
            if getattr(data, name) is not None:
                yield f"eval_share and {name} both say which rows are held out: give one"
        if data.streaming:
            yield "eval_share needs a count of rows, which a stream has not: give eval_dataset or eval_split"
    if not data.shuffle and data.group_by_length:
        yield "shuffle=False and group_by_length=True are two orders of the rows: give one"


def _mixture(config: Config) -> Iterator[str]:
    """Several data sets in place of one."""
    data, entries = config.data, config.data.datasets or []
    if data.dataset is not None:
        yield "dataset_name and datasets both say which rows are trained on: give one"
    if not entries:
        yield "datasets is empty: name at least one data set"
    if data.streaming:
        yield "datasets cannot be streamed together: read them whole, or stream one with dataset_name"
    if data.eval_split is not None and data.eval_dataset is None:
        yield "eval_split names no split of several data sets: give eval_share, or eval_dataset beside it"
    weighed = [entry.get("weight") is not None for entry in entries]
    if any(weighed) and not all(weighed):
        yield f"datasets[{weighed.index(False)}] has no weight, but others have: give all of them one, or none"


def notes(config: Config, settings: Settings) -> list[str]:
    """What is worth a log line: settings that pass, but have no effect."""
    sentences = []
    steps, ratio = settings.get("optim.warmup_steps"), settings.get("optim.warmup_ratio")
    if steps and ratio and ratio.value:
        sentences.append(f"{steps} and {ratio}: the number of steps counts, the ratio does not")
    epochs, most = settings.get("optim.num_epochs"), settings.get("optim.max_steps")
    if epochs and most and most.value:
        sentences.append(f"{epochs} and {most}: the number of steps counts, the epochs do not")
    sentences += _unused_intervals(config, settings)
    if config.run.save_only_model and config.run.save_strategy != "no":
        sentences.append("save_only_model=True: no run can be resumed from checkpoints without the optimiser")
    for path in ("run.hub_model_id", "run.hub_private"):
        if path in settings and not config.run.push_to_hub:
            sentences.append(f"{settings[path]} has no effect without push_to_hub=True")
    packed = settings.get("data.packing_strategy")
    if packed and packed.value != "bfd" and not config.data.packing:
        sentences.append(f"{packed} has no effect without packing=True")
    return [*sentences, *_unread(config, settings)]


def _unused_intervals(config: Config, settings: Settings) -> Iterator[str]:
    """Intervals of evaluations that there are not, and those that a number an epoch stands in for."""
    strategies = {"eval": config.run.eval_strategy, "save": config.run.save_strategy}
    for kind, strategy in strategies.items():
        every, per_epoch = settings.get(f"run.{kind}_steps"), settings.get(f"run.{kind}s_per_epoch")
        if every and per_epoch:
            yield f"{every} and {per_epoch}: the number an epoch counts, {kind}_steps does not"
        if per_epoch and strategy in ("no", "best"):
            needs = f"without {_HELD_OUT}" if kind == "eval" else f"with save_strategy={strategy!r}"
            yield f"{per_epoch} has no effect {needs}"
    default = config._defaults["run.eval_steps"]
    if "run.eval_steps" in settings and config.run.eval_steps != default and strategies["eval"] == "no":
        yield f"{settings['run.eval_steps']} has no effect without {_HELD_OUT}"


def _unread(config: Config, settings: Settings) -> Iterator[str]:
    """Parameters that only another one makes count, which is off."""
    parameters: BaseModel = config.parameters
    for name, entry in parameters_of(type(parameters)).items():
        switch, _, needed = str(extra_of(entry.info).get("needs", "")).partition("=")
        if not switch or entry.path not in settings:
            continue
        value = getattr(parameters, switch)
        if not _is_on(value, needed):
            to = f"{switch}={needed!r}" if needed else switch
            yield f"{settings[entry.path]} has no effect with {switch}={excerpt(value)}: set {to}, or drop {name}"
    dropout = settings.get("peft.dropout")
    if dropout and dropout.value and config.peft.enabled and getattr(parameters, "disable_dropout", False):
        whose = "" if "parameters.disable_dropout" in settings else f", the default of {config.algorithm}"
        yield (
            f"{dropout} has no effect with disable_dropout=True{whose}: set disable_dropout=False to train with "
            "dropout, or lora_dropout=0"
        )


def _is_on(value: Any, needed: str) -> bool:
    """Whether a switch is on: has, or holds, the wanted value; without one, whether it is anything at all."""
    if not needed:
        return bool(value)
    return needed in value if isinstance(value, list) else bool(value == needed)


def _empty(config: Config) -> Iterator[str]:
    """An empty name would mean the current folder; it is what an empty ``${VARIABLE}`` leaves."""
    names = {
        "model_name": config.model.name,
        "dataset_name": config.data.dataset,
        "output_dir": config.run.output_dir,
    }
    for keyword, value in names.items():
        if isinstance(value, str) and not value.strip():
            yield f"{keyword} is empty: give a name or a path"


def _model(config: Config) -> Iterator[str]:
    quantization = config.model.quantization
    if quantization and quantization.load_in_4bit and quantization.load_in_8bit:
        yield "load_in_4bit and load_in_8bit exclude each other: give one"
    if quantization and config.peft.enabled is False:
        yield "use_peft=False needs full-precision weights: a quantised model takes an adapter only. Drop quantization"
    if isinstance(config.model.name, (int, float, list, tuple, set, bytes)):
        kind = type(config.model.name).__name__
        yield f"model_name: got {kind} {config.model.name!r:.60}; pass a hub id, a folder, or a model in memory"
    kernel = config.model.attn_implementation
    wrong = attention_problem(kernel) if kernel else None
    if wrong:
        yield f"attn_implementation={kernel!r} {wrong}"


def _peft(config: Config, settings: Settings) -> Iterator[str]:
    if config.peft.enabled is not False:
        return
    if config.optim.loraplus_lr_ratio is not None:
        ratio = config.optim.loraplus_lr_ratio
        yield f"loraplus_lr_ratio={ratio:g} sets the rates of an adapter's matrices: drop use_peft=False, or it"
    for path, setting in settings.items():
        section, _, name = path.partition(".")
        if section == "peft" and name not in ("enabled", "merge_adapter"):
            default = config._defaults.get(path, PeftConfig.model_fields[name].default)
            if not equal(setting.value, default):
                yield f"{setting} has no effect with use_peft=False: drop one of them"


def _evaluation(config: Config) -> Iterator[str]:
    run = config.run
    needing = {
        f"eval_strategy={run.eval_strategy!r}": run.eval_strategy != "no",
        'save_strategy="best"': run.save_strategy == "best",
        _LOAD_BEST: run.load_best_model_at_end,
        "eval_on_start=True": run.eval_on_start,
    }
    if not has_eval(config):
        yield from (f"{setting} needs {_HELD_OUT}" for setting, needs in needing.items() if needs)
        if run.early_stopping_patience is not None:
            patience = f"early_stopping_patience={run.early_stopping_patience}"
            yield f"{patience} needs {_HELD_OUT}; to end a run by something else there are callbacks"
        return
    if run.load_best_model_at_end and run.save_strategy not in ("best", run.eval_strategy):
        saved, evaluated = run.save_strategy, run.eval_strategy
        yield f"{_LOAD_BEST} needs save_strategy and eval_strategy alike, not {saved!r} and {evaluated!r}"
    if run.early_stopping_patience is not None and run.eval_strategy == "no":
        yield (
            f"early_stopping_patience={run.early_stopping_patience} looks at evaluations, and eval_strategy is 'no': "
            'take "steps" or "epoch"'
        )
    if run.early_stopping_threshold and run.early_stopping_patience is None:
        yield f"early_stopping_threshold={run.early_stopping_threshold:g} needs early_stopping_patience"


def _online(config: Config) -> Iterator[str]:
    rewards = config.rewards
    functions = len(rewards.functions)
    fitting = {functions, functions + (rewards.model is not None)}  # the reward model's weight may come last
    if rewards.weights is not None and functions and len(rewards.weights) not in fitting:
        yield f"{len(rewards.weights)} reward_function_weights for {functions} reward_functions"
    run = config.run
    needing = {
        _LOAD_BEST: run.load_best_model_at_end,
        'save_strategy="best"': run.save_strategy == "best",
        f"early_stopping_patience={run.early_stopping_patience}": run.early_stopping_patience is not None,
    }
    reason = next((setting for setting, needs in needing.items() if needs), None)
    if reason and run.metric_for_best_model in (None, "loss", "eval_loss"):
        yield (
            f'{reason} needs metric_for_best_model="eval_reward": what generates its own completions has no loss on '
            "held-out rows"
        )
    completion = getattr(config.parameters, "max_completion_length", None)
    prompt = getattr(config.parameters, "max_prompt_length", None)
    if completion is not None and completion + (prompt or 1) > config.data.max_seq_length:
        yield (
            f"max_seq_length={config.data.max_seq_length} has no room for max_prompt_length={prompt or 1} and "
            f"max_completion_length={completion}: it counts both"
        )
