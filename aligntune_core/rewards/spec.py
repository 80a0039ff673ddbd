"""Read ``RewardsConfig``: each entry's kind, name, parameters and weight. No code of a user's is imported."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from aligntune_core.errors import ConfigError, UnknownReward
from aligntune_core.rewards import catalogue
from aligntune_core.rewards.model import RewardModel
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.config.schema.sections import RewardsConfig

RewardKind = Literal["function", "built-in", "registered", "import", "model"]

_KEYS = ("type", "name", "function", "reward_function", "params", "weight")
_FUNCTION_KEYS = ("function", "reward_function")
_IMPORT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class RewardSpec:
    """One reward as the configuration gives it."""

    kind: RewardKind  # how it was given
    name: str  # what metrics and errors call it
    target: Any  # the callable, the catalog's entry, "package.module:function", or a model's folder or hub id
    params: Mapping[str, Any] = field(default_factory=dict)  # its parameters
    weight: float = 1.0  # factor in the total
    weight_given: bool = False  # whether the entry itself states the weight


def read_rewards(config: RewardsConfig) -> list[RewardSpec]:
    """Read the configuration of rewards: the functions in their order, then the reward model; names are unique.

    Light: known names, shapes and weights are checked; no function of a user's or a third party's is imported, no
    model is looked for.

    Raises:
        ConfigError: no reward at all, an unknown name, a wrong entry, or weights that do not fit.
    """
    problems: list[str] = []
    unknown = True
    specs: list[RewardSpec] = []
    for position, item in enumerate(config.functions):
        try:
            specs.append(_read(item))
        except ConfigError as error:
            unknown = unknown and isinstance(error, UnknownReward)
            problems += [f"reward_functions[{position}]: {problem}" for problem in error.problems]
    if config.model is not None:
        specs.append(_model(config.model))
    if problems:
        raise UnknownReward(problems) if unknown else ConfigError(problems)
    if not specs:
        raise ConfigError(
            "no reward is given. Give reward_functions (a function, a name, a list of them) or reward_model_name "
            f"(folder or hub id of a sequence-classification model). Names: {listed(catalogue.reward_names())}."
        )
    specs = _uniquely_named(_weighted(specs, config))
    if not any(spec.weight for spec in specs):
        raise ConfigError(
            f"every reward has weight 0 ({listed(spec.name for spec in specs)}), so there is nothing to learn from: "
            "give one of them another weight (reward_function_weights, or the weight of its entry)"
        )
    return specs


def _read(item: Any) -> RewardSpec:
    if isinstance(item, Mapping):
        return _read_mapping(item)
    if isinstance(item, list | tuple):
        if len(item) != 2 or not _is_number(item[1]):
            raise ConfigError(f"{item!r} is no reward; a pair is (reward, weight)")
        return replace(_read(item[0]), weight=_finite(item[1]), weight_given=True)
    if isinstance(item, str):
        return _read_name(item)
    if _is_model(item):
        return _model(item)
    if item is not None and not isinstance(item, int | float | type):
        # Whether it can be called shows when it is: an object on its way to another process is not opened here.
        return RewardSpec("function", _callable_name(item), item)
    raise ConfigError(
        f"{item!r} is no reward; give a function, a name, package.module:function, a model's folder or hub id, or a "
        "mapping with type, params and weight"
    )


def _read_name(name: str) -> RewardSpec:
    if _IMPORT.fullmatch(name):
        return RewardSpec("import", name.rpartition(":")[2].rpartition(".")[2], name)
    if (entry := catalogue.find_reward(name)) is not None:
        kind: RewardKind = "built-in" if isinstance(entry, catalogue.BuiltIn) else "registered"
        return RewardSpec(kind, catalogue.normalised(name), entry)
    if "/" in name or os.sep in name or name.startswith((".", "~")) or os.path.isdir(name):
        return _model(name)
    raise catalogue.refuse(name)


def _read_mapping(item: Mapping[str, Any]) -> RewardSpec:
    """``{"type": ..., "params": {...}, "weight": ...}``, or with the function under ``function``."""
    for key in item:
        if key not in _KEYS:
            raise ConfigError(
                f'a reward has no "{key}".{did_you_mean(str(key), _KEYS)} It has {listed(_KEYS)}'
            )
    params = dict(item.get("params") or {})
    functions = [params.pop(key) for key in _FUNCTION_KEYS if key in params]
    functions += [item[key] for key in _FUNCTION_KEYS if key in item]
    kind = item.get("type", None if functions else item.get("name"))
    if len(functions) > 1 or (functions and kind not in (None, "custom")):
        raise ConfigError(
            f"type {kind!r} and function name two rewards; a function needs no type, or type custom"
        )
    if functions:
        spec = _read(functions[0])
    elif kind == "reward_model":
        if "model" not in params:
            raise ConfigError('type reward_model needs params: {"model": FOLDER_OR_HUB_ID}')
        spec = _model(params.pop("model"))
    elif isinstance(kind, str):
        spec = _read_name(kind)
    else:
        raise ConfigError(f'a reward needs a "type" (a name) or a "function"; got {dict(item)!r}')
    if isinstance(item.get("name"), str):
        spec = replace(spec, name=item["name"])
    if "weight" in item:
        if not _is_number(item["weight"]):
            raise ConfigError(f"weight must be a number, not {item['weight']!r}")
        spec = replace(spec, weight=_finite(item["weight"]), weight_given=True)
    return replace(spec, params=params)


def _model(model: Any) -> RewardSpec:
    """A reward model: its folder or hub id, a torch module, or a ``RewardModel``."""
    if isinstance(model, str):
        return RewardSpec("model", os.path.basename(model.rstrip("/\\")) or model, os.path.expanduser(model))
    if not _is_model(model):
        raise ConfigError(f"{model!r} is no reward model; give its folder, its hub id, or a RewardModel")
    return RewardSpec("model", str(getattr(model, "label", type(model).__name__)), model)


def _is_model(item: Any) -> bool:
    """A torch module or a ``RewardModel``, told without importing torch."""
    return isinstance(item, RewardModel) or (hasattr(item, "state_dict") and hasattr(item, "forward"))


def _weighted(specs: list[RewardSpec], config: RewardsConfig) -> list[RewardSpec]:
    """Apply ``reward_function_weights``: one a function, and one for the reward model where it is listed too."""
    weights = config.weights
    if weights is None:
        return specs
    if len(weights) not in {len(config.functions), len(specs)}:
        raise ConfigError(
            f"reward_function_weights has {len(weights)} values for {len(config.functions)} reward functions"
            + (" and one reward model (its weight is optional, and last)" if config.model is not None else "")
            + f": {listed(spec.name for spec in specs)}"
        )
    for spec, weight in zip(specs, weights, strict=False):
        if spec.weight_given and spec.weight != weight:
            raise ConfigError(
                f'reward "{spec.name}" has weight {spec.weight} in its own entry and {weight} in '
                "reward_function_weights; state it once"
            )
    weights = [_finite(weight) for weight in weights]
    return [replace(s, weight=w) for s, w in zip(specs, weights, strict=False)] + specs[len(weights) :]


def _uniquely_named(specs: list[RewardSpec]) -> list[RewardSpec]:
    """Make names unique: a second ``length`` is ``length_2``."""
    unique: dict[str, RewardSpec] = {}
    for spec in specs:
        names = (spec.name, *(f"{spec.name}_{count}" for count in range(2, len(specs) + 1)))
        name = next(name for name in names if name not in unique)
        unique[name] = replace(spec, name=name)
    return list(unique.values())


def _callable_name(function: Any) -> str:
    inner = getattr(function, "func", function)  # functools.partial
    return str(getattr(inner, "__name__", type(inner).__name__)).strip("<>")  # of a lambda "<lambda>"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(weight: float) -> float:
    if not math.isfinite(weight):
        raise ConfigError(f"a weight must be finite, not {weight}")
    return float(weight)
