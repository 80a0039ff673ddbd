"""The rewards of a run with their weights, and how a configuration becomes one such set."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from aligntune_core.errors import ConfigError, RewardError
from aligntune_core.rewards.batch import Reward, Samples
from aligntune_core.rewards.function import FunctionReward
from aligntune_core.rewards.model import ModelReward, RewardModel
from aligntune_core.rewards.spec import RewardSpec, read_rewards
from aligntune_core.rewards.text import TextOrMessages, completion_text
from aligntune_core.wording import a_type, did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.config.schema.sections import RewardsConfig

# Columns that TRL does not hand to reward functions with the row's others.
_RESERVED = ("prompt", "completion", "completion_ids")


@dataclass(frozen=True)
class Scores:
    """The scores that a set of rewards gives a batch."""

    names: tuple[str, ...]  # of the rewards, in their order
    values: list[list[float]]  # one list a reward, each with one number a sample, unweighted
    total: list[float]  # the weighted sum, one number a sample


class RewardSet:
    """The rewards of a run, each with its weight.

    Attributes:
        rewards: in the order of the configuration, the reward model of ``reward_model_name`` last.
        text_prompts: whether the rows' prompts were plain texts (``DataReport.text_prompts``).
    """

    def __init__(self, rewards: Sequence[Reward], tokenizer: Any = None, text_prompts: bool = False) -> None:
        self.rewards: tuple[Reward, ...] = tuple(rewards)
        self.text_prompts = text_prompts
        self._tokenizer = tokenizer

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rewards, each once."""
        return tuple(reward.name for reward in self.rewards)

    @property
    def weights(self) -> tuple[float, ...]:
        """Their weights."""
        return tuple(reward.weight for reward in self.rewards)

    def load(self) -> None:
        """Load every reward model now rather than at the first score."""
        for reward in self.rewards:
            reward.load()

    def batch(
        self,
        prompts: Sequence[TextOrMessages],
        completions: Sequence[TextOrMessages],
        columns: Mapping[str, Sequence[Any]] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> Samples:
        """Put samples together; see ``score``."""
        columns = {name: values for name, values in (columns or {}).items() if name not in _RESERVED}
        lengths = {"prompts": len(prompts), **{name: len(values) for name, values in columns.items()}}
        if completion_ids is not None:
            lengths["completion_ids"] = len(completion_ids)
        if wrong := [f"{name} has {n}" for name, n in lengths.items() if n != len(completions)]:
            raise RewardError(f"{len(completions)} completions are to be scored, but {listed(wrong)}")
        counted = completion_ids is None and any(reward.wants_tokens for reward in self.rewards)
        if counted and self._tokenizer is not None:
            texts = map(completion_text, completions)
            completion_ids = [self._tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        return Samples(
            prompts=prompts,
            completions=completions,
            columns=columns,
            completion_ids=completion_ids,
            extras=extras or {},
            text_prompts=self.text_prompts,
        )

    def score(
        self,
        prompts: Sequence[TextOrMessages],
        completions: Sequence[TextOrMessages],
        columns: Mapping[str, Sequence[Any]] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> Scores:
        """Score completions with every reward.

        Args:
            prompts: one a completion: strings, or message lists.
            completions: strings, or message lists.
            columns: the rows' other columns, repeated to one value a completion.
            completion_ids: token ids of the completions; by default the tokenizer's, where a reward reads them.
            extras: passed whole to functions of TRL's form: ``trainer_state``, ``log_extra``, ``log_metric``.

        Raises:
            RewardError: a reward gave a wrong number of values, None, NaN or no number (the sample is named), or the
                rows lack a column that it needs.
            Exception: what a reward raised, with a note that names it and the sample.
        """
        batch = self.batch(prompts, completions, columns, completion_ids, extras)
        values = [reward.score(batch) for reward in self.rewards]
        weighted = [
            [reward.weight * v for v in row] for reward, row in zip(self.rewards, values, strict=True)
        ]
        total = [sum(sample) for sample in zip(*weighted, strict=True)]
        return Scores(self.names, values, total)


# --- made of a configuration -----------------------------------------------------------------------------------------


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
    return RewardSet([_reward_of(spec, device, defaults or {}) for spec in read_rewards(config)], tokenizer)


def _reward_of(spec: RewardSpec, device: Any, defaults: Mapping[str, Any]) -> Reward:
    if spec.kind == "model":
        return ModelReward(spec.name, _reward_model(spec, device), spec.weight)
    function = _imported(spec)
    if spec.kind == "built-in":
        params = _validated(spec, function, defaults)
        reward = FunctionReward(spec.name, function, params, spec.weight)
        _try(reward, spec.target.requires)
        return reward
    reward = FunctionReward(spec.name, function, dict(spec.params), spec.weight)
    first = [reward.signature.first] if reward.signature.first else []
    unknown = [name for name in spec.params if not reward.signature.takes(name)]
    _refuse_unknown(spec, unknown, [*reward.signature.keywords, *first])
    return reward


def _refuse_unknown(spec: RewardSpec, unknown: Sequence[str], names: Sequence[str]) -> None:
    for name in unknown:
        near = did_you_mean(name, names)
        raise ConfigError(f'reward "{spec.name}" has no parameter "{name}".{near} It takes {listed(names)}')


def _reward_model(spec: RewardSpec, device: Any) -> RewardModel:
    if isinstance(spec.target, RewardModel):
        return spec.target
    try:
        return RewardModel(spec.target, **{"device": device, **spec.params})
    except TypeError as error:
        raise ConfigError(f'reward model "{spec.name}": {error}') from error


def _imported(spec: RewardSpec) -> Callable[..., Any]:
    """The function itself; one that is given by name is imported here and no earlier."""
    if spec.kind == "function":
        return spec.target  # type: ignore[no-any-return]
    try:
        function: Callable[..., Any] = _by_path(spec.target) if spec.kind == "import" else spec.target.load()
    except Exception as error:
        source = getattr(spec.target, "value", spec.target)
        error.add_note(f'reward "{spec.name}" could not be imported from {source}')
        raise
    return function


def _by_path(path: str) -> Callable[..., Any]:
    module, _, attribute = path.partition(":")
    folder = os.getcwd()
    if importlib.util.find_spec(module.partition(".")[0]) is None and folder not in sys.path:
        sys.path.append(folder)  # as `python script.py` would have it; a console command does not
    try:
        value: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks one that it imports
        raise ConfigError(
            f'"{path}": there is no module {error.name}; looked in {folder} and sys.path'
        ) from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [n for n in vars(value) if not n.startswith("_")] if hasattr(value, "__dict__") else []
            raise ConfigError(f'"{path}": there is no {part} in {module}.{did_you_mean(part, names)}')
        value = getattr(value, part)
    if not callable(value):
        raise ConfigError(f'"{path}" is {a_type(value)}, which cannot be called')
    return value  # type: ignore[no-any-return]


def _validated(spec: RewardSpec, function: Callable[..., Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a built-in, which are its keyword-only ones, as their annotations make them."""
    parameters = inspect.signature(function).parameters.values()
    required = {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY}
    _refuse_unknown(spec, [name for name in spec.params if name not in required], [*required])
    params = {**{name: value for name, value in defaults.items() if name in required}, **spec.params}
    if lacking := [name for name in required if required[name] and name not in params]:
        raise ConfigError(f'reward "{spec.name}" needs {listed(lacking)} in its params')
    hints = get_type_hints(function, include_extras=True)
    for name, value in params.items():
        try:
            params[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            problems = [f'reward "{spec.name}", {name} = {value!r}: {e["msg"]}' for e in error.errors()]
            raise ConfigError(problems) from error
    return params


def _try(reward: FunctionReward, requires: str) -> None:
    """Call a built-in once on an empty text, so that a missing library or a wrong pattern shows before weights load."""
    if requires == "reasoning-gym":
        return  # it scores rows of its own only, and making those has shown that the library is there
    try:
        row = {n: "" for n in reward.signature.keywords if n in ("reference", "completion_ids")}
        reward.function("", **row, **reward.params)
    except ImportError as error:
        raise ConfigError(f'reward "{reward.name}" needs {requires}: pip install {requires}') from error
    except Exception as error:
        raise ConfigError(
            f'reward "{reward.name}" cannot be used with {dict(reward.params)}: {error}'
        ) from error
