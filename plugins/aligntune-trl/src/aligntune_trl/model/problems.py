"""What a model's configuration and files rule out, read before any weights load."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aligntune_core import Device
from aligntune_core.config.keywords import named
from aligntune_core.wording import did_you_mean, listed
from aligntune_trl.model.source import Source
from aligntune_trl.table import METRICS, metric_of


def problems(config: Any, device: Device, source: Source, fresh: bool) -> list[str]:
    """One sentence for each.

    Args:
        config: resolved configuration.
        device: where training runs.
        source: what ``model_name`` is.
        fresh: whether an adapter is made.
    """
    found = [*_attention(config), *_placement(config, device), *_metric(config), *_schedule(config)]
    found += _files(source)
    if fresh:
        found += [*_layers(config, source), *_modules(config, source)]
    return found


def _attention(config: Any) -> list[str]:
    kernel = config.model.attn_implementation
    if kernel == "flash_attention_2" and find_spec("flash_attn") is None:
        return [
            f"{named('model.attn_implementation')}: {kernel!r} needs the flash-attn package, which is not installed "
            'here; take "sdpa"'
        ]
    return []


def _placement(config: Any, device: Device) -> list[str]:
    placed = config.model.device_map
    places = list(placed.values()) if isinstance(placed, Mapping) else [placed]
    if device.kind == "cpu" and any(isinstance(p, int) or str(p).startswith("cuda") for p in places):
        return [f"{named('model.device_map')}: {placed!r} needs a GPU; this run is on the CPU. Leave it out"]
    return []


def _metric(config: Any) -> list[str]:
    asked, known = config.run.metric_for_best_model, METRICS.get(config.algorithm)
    if asked is None or known is None:
        return []
    if metric_of(config.algorithm, asked).removeprefix("eval_") in known.values():
        return []
    return [
        f"{named('run.metric_for_best_model')}: {config.algorithm} has no figure {asked!r}."
        f"{did_you_mean(asked.removeprefix('eval_'), known)} Known: {listed(sorted(known))}"
    ]


def _schedule(config: Any) -> list[str]:
    if config.optim.lr_scheduler == "reduce_lr_on_plateau" and config.run.eval_strategy == "no":
        return [
            f"{named('optim.lr_scheduler')}: 'reduce_lr_on_plateau' follows the held-out loss: give eval_dataset or "
            "eval_split"
        ]
    return []


def _files(source: Source) -> list[str]:
    """Weights on disk that are cut off or lack a part: reading their headers costs milliseconds."""
    from aligntune_core.run.checkpoints import weights_problem

    folders = [str(p) for p in (source.base, source.adapter) if isinstance(p, str) and Path(p).is_dir()]
    wrong = [(folder, weights_problem(Path(folder))) for folder in folders]
    return [
        f"model_name: {folder}: {why}. Download or copy it again" for folder, why in wrong if why is not None
    ]


# --- layers and modules that an adapter is asked for ----------------------------------------------------------------


def _layers(config: Any, source: Source) -> list[str]:
    asked, model_config = config.peft.layers_to_transform, source.model_config
    text = model_config.get_text_config() if hasattr(model_config, "get_text_config") else model_config
    number = getattr(text, "num_hidden_layers", None)
    if not asked or number is None:
        return []
    beyond = [layer for layer in asked if not 0 <= layer < number]
    if not beyond:
        return []
    return [
        f"{named('peft.layers_to_transform')}: there is no layer {listed(beyond)}; this model has {number}: 0 to "
        f"{number - 1}"
    ]


def _modules(config: Any, source: Source) -> list[str]:
    targets, whole = config.peft.target_modules, config.peft.modules_to_save
    if (targets == "all-linear" or not targets) and not whole:
        return []
    modules = modules_of(config, source)
    if modules is None:
        return []
    found = []
    if isinstance(targets, str) and targets != "all-linear":
        found += _pattern(targets, modules)
    elif not isinstance(targets, str):
        found += _unknown("peft.target_modules", targets or (), modules, carries)
        if not source.in_memory:
            found += _containers(targets or (), modules)
    return found + _unknown("peft.modules_to_save", whole or (), modules, str.endswith)


def carries(module: str, name: str) -> bool:
    """Whether peft takes ``name`` for the module of that full name."""
    return module == name or module.endswith(f".{name}")


def _pattern(pattern: str, modules: Iterable[str]) -> list[str]:
    where = named("peft.target_modules")
    try:
        if any(re.fullmatch(pattern, module) for module in modules):
            return []
    except re.error as error:
        return [f"{where}: {pattern!r} is no regular expression: {error}. For names of modules give a list"]
    return [
        f"{where}: {pattern!r} matches no module: a plain string is a regular expression for whole names such as "
        f"{_example(modules)}. For names of modules give a list: [{pattern!r}]"
    ]


def _example(modules: Iterable[str]) -> str:
    return max(modules, key=lambda name: name.count("."))


def _unknown(path: str, asked: Iterable[str], modules: Iterable[str], match: Any) -> list[str]:
    names = sorted({module.rpartition(".")[2] for module in modules} - {""})
    names = [name for name in names if not name.isdigit()]
    return [
        f"{named(path)}: this model has no module {name!r}.{did_you_mean(name.rpartition('.')[2], names)} "
        f"It has: {listed(names)}"
        for name in asked
        if not any(match(module, name) for module in modules)
    ]


def _containers(targets: Iterable[str], modules: Mapping[str, Any]) -> list[str]:
    """Targets that are no layers but hold them: peft has no adapter for those."""
    from torch import nn

    found = []
    for name in targets:
        inside = {inner: kind for inner, kind in modules.items() if f".{name}." in f".{inner}"}
        if inside and any(carries(module, name) for module in modules):
            layers = {inner.rpartition(".")[2] for inner, kind in inside.items() if kind is nn.Linear}
            found.append(
                f"{named('peft.target_modules')}: {name!r} is no layer but holds layers: take {listed(sorted(layers))}"
            )
    return found


def modules_of(config: Any, source: Source) -> dict[str, type] | None:
    """Full name -> class of the model's modules, from its configuration alone; None where that takes foreign code."""
    if source.in_memory:
        base = source.base.get_base_model() if hasattr(source.base, "get_base_model") else source.base
        return {name: type(module) for name, module in base.named_modules() if name}
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto = AutoModelForSequenceClassification if config.algorithm == "reward" else AutoModelForCausalLM
    if type(source.model_config) not in auto._model_mapping:
        return None
    with torch.device("meta"):
        model = auto.from_config(copy.deepcopy(source.model_config))
    return {name: type(module) for name, module in model.named_modules() if name}
