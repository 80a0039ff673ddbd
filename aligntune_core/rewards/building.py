"""From a configuration to rewards that score: imports, parameters, signatures."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from aligntune_core.errors import ConfigError
from aligntune_core.rewards.batch import Reward
from aligntune_core.rewards.catalogue import BuiltIn
from aligntune_core.rewards.function import FunctionReward
from aligntune_core.rewards.model import RewardModel
from aligntune_core.rewards.reward_set import ModelReward, RewardSet
from aligntune_core.rewards.spec import RewardSpec, read_rewards
from aligntune_core.wording import a_type, did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.config.schema.sections import RewardsConfig


def build_rewards(
    config: RewardsConfig,
    tokenizer: Any = None,
    device: Any = None,
    defaults: Mapping[str, Any] | None = None,
) -> RewardSet:
    """Make the rewards that a configuration asks for.

    Imports functions that are given by name, and checks names, parameters and signatures; reward models are loaded
    by ``RewardSet.load`` or the first score.

    Args:
        config: the rewards section.
        tokenizer: the policy's, for rewards that count tokens when the caller has no token ids.
        device: where reward models run; default CUDA where there is one.
        defaults: values of the run that built-in rewards take for parameters that are not set, such as
            ``max_completion_length`` (tokens).

    Raises:
        ConfigError: no reward, an unknown name, parameters that do not fit, or a function whose form cannot be told.
        Exception: what importing a function raised, with a note that names the reward.
    """
    return RewardSet([_made(spec, device, defaults or {}) for spec in read_rewards(config)], tokenizer)


def _made(spec: RewardSpec, device: Any, defaults: Mapping[str, Any]) -> Reward:
    if spec.kind == "model":
        return ModelReward(spec.name, _reward_model(spec, device), spec.weight)
    if isinstance(spec.target, BuiltIn):
        function, params = spec.target.load(), dict(spec.params)
        declared = _declared(function)
        params = {**{n: v for n, v in defaults.items() if n in declared}, **params}
        params = _validated(spec.name, function, params)
        reward = FunctionReward(spec.name, function, params, spec.weight)
        _try(reward, spec.target)
        return reward
    function = _imported(spec)
    reward = FunctionReward(spec.name, function, dict(spec.params), spec.weight)
    known = [*reward.signature.named, *([reward.signature.first] if reward.signature.first else [])]
    for name in spec.params:
        if not reward.signature.takes(name):
            raise ConfigError(
                f'reward "{spec.name}" has no parameter "{name}".{did_you_mean(name, known)} '
                f"It takes {listed(known)}"
            )
    return reward


def _reward_model(spec: RewardSpec, device: Any) -> RewardModel:
    if isinstance(spec.target, RewardModel):
        return spec.target
    try:
        return RewardModel(spec.target, **{"device": device, **spec.params})
    except TypeError as error:
        raise ConfigError(f'reward model "{spec.name}": {error}') from error


def _imported(spec: RewardSpec) -> Callable[..., Any]:
    """The function itself; names are imported here, and not before."""
    try:
        if spec.kind == "registered":
            found: Callable[..., Any] = spec.target.load()
        elif spec.kind == "import":
            found = _by_path(spec.target)
        else:
            found = spec.target
    except Exception as error:
        error.add_note(
            f'reward "{spec.name}" could not be imported from {getattr(spec.target, "value", spec.target)}'
        )
        raise
    return found


def _by_path(path: str) -> Callable[..., Any]:
    module, _, attribute = path.partition(":")
    here = os.getcwd()
    if importlib.util.find_spec(module.partition(".")[0]) is None and here not in sys.path:
        sys.path.append(here)  # as `python script.py` would have it; a console command does not
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks one that it imports
        raise ConfigError(
            f'"{path}": there is no module {error.name}; looked in {here} and sys.path'
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise ConfigError(f'"{path}": there is no {part} in {module}.{did_you_mean(part, names)}')
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f'"{path}" is {a_type(found)}, which cannot be called')
    return found  # type: ignore[no-any-return]


# --- parameters of built-in rewards ----------------------------------------------------------------------------------


def _declared(function: Callable[..., Any]) -> list[str]:
    """What ``params`` may set: the keyword-only parameters."""
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _validated(name: str, function: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    declared = _declared(function)
    for key in params:
        if key not in declared:
            takes = f"It takes {listed(declared)}" if declared else "It takes none"
            raise ConfigError(
                f'reward "{name}" has no parameter "{key}".{did_you_mean(key, declared)} {takes}'
            )
    lacking = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in params
    ]
    if lacking:
        raise ConfigError(f'reward "{name}" needs {listed(lacking)} in its params')
    hints = get_type_hints(function, include_extras=True)
    valid: dict[str, Any] = {}
    for key, value in params.items():
        try:
            valid[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            found = [f'reward "{name}", {key} = {value!r}: {e["msg"]}' for e in error.errors()]
            raise ConfigError(found) from error
    return valid


def _try(reward: FunctionReward, entry: BuiltIn) -> None:
    """Call a built-in once on nothing, so that a missing library or a wrong pattern shows before weights load."""
    if entry.requires == "reasoning-gym":
        return  # needs a row of its own; making the row has shown that the library is there
    try:
        row = {n: "" for n in reward.signature.named if n in ("reference", "completion_ids")}
        reward.function("", **row, **reward.params)
    except ImportError as error:
        raise ConfigError(
            f'reward "{reward.name}" needs {entry.requires}: pip install {entry.requires}'
        ) from error
    except Exception as error:
        raise ConfigError(
            f'reward "{reward.name}" cannot be used with {dict(reward.params)}: {error}'
        ) from error
