"""The rewards that have a name: the built-in ones and those that other distributions register."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from aligntune_core.errors import ConfigError, UnknownReward
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.entrypoints import EntryPoint

GROUP = "aligntune.rewards"
OWN = "that name belongs to aligntune itself"

_log = logging.getLogger("aligntune.rewards")


@dataclass(frozen=True)
class BuiltIn:
    """The entry of a built-in reward.

    Attributes:
        target: "module:function" below ``aligntune_core.rewards``.
        scores: its range, for people.
        requires: the distribution that it needs beyond core's own, or empty.
    """

    target: str
    scores: str
    requires: str = ""

    def load(self) -> Callable[..., Any]:
        """The function itself. Its library is imported only when it scores."""
        module, _, function = self.target.partition(":")
        imported = importlib.import_module(f"aligntune_core.rewards.{module}")
        loaded: Callable[..., Any] = getattr(imported, function)
        return loaded


BUILT_IN: dict[str, BuiltIn] = {
    "exact_answer": BuiltIn("builtin.answer:exact_answer", "0 or 1"),
    "math": BuiltIn("builtin.mathematics:math", "0 or 1", "math-verify"),
    "reasoning_gym": BuiltIn("builtin.reasoning_gym:reasoning_gym", "0 to 1", "reasoning-gym"),
    "regex": BuiltIn("builtin.patterns:regex", "0 or 1"),
    "xml_tags": BuiltIn("builtin.patterns:xml_tags", "0 to 1"),
    "think_format": BuiltIn("builtin.patterns:think_format", "0 or 1"),
    "json_schema": BuiltIn("builtin.structured:json_schema", "0 or 1", "jsonschema"),
    "keyword": BuiltIn("builtin.keywords:keyword", "0 to 1"),
    "length": BuiltIn("builtin.length:length", "0 to 1"),
    "overlong": BuiltIn("builtin.length:overlong", "-1 to 0"),
    "repetition": BuiltIn("builtin.repetition:repetition", "-1 to 0"),
}


_MODEL = "A reward model judges this: give its hub id or folder as reward_model_name"
_CODE = (
    "Running generated code is not offered; a function of your own that does so in a sandbox goes in as "
    '"package.module:function"'
)
_MATHS = "It compares the final answer with the row's, mathematically"

UNAVAILABLE: dict[str, tuple[str, str]] = {
    "math_correctness": ("math", _MATHS),
    "math_reasoning": ("math", _MATHS + '; add "think_format" for a visible chain of thought'),
    "math_accuracy": ("math", _MATHS),
    "math_equivalence": ("math", _MATHS),
    "math_verify": ("math", _MATHS),
    "accuracy": ("math", _MATHS + '; "exact_answer" compares text'),
    "accuracy_reward": ("math", _MATHS + '. TRL\'s own is "trl.rewards:accuracy_reward"'),
    "correctness": ("exact_answer", 'For mathematics there is "math"'),
    "exact_match": ("exact_answer", "It compares the final answer inside the completion"),
    "bleu": ("exact_answer", "Overlap with a reference is not offered"),
    "rouge": ("exact_answer", "Overlap with a reference is not offered"),
    "length_penalty": ("length", "Its parameters are min_length, max_length, unit"),
    "length_reward": ("length", "Its parameters are min_length, max_length, unit"),
    "conciseness": ("length", "Its parameters are min_length, max_length, unit"),
    "brevity": ("length", "Its parameters are min_length, max_length, unit"),
    "soft_overlong_punishment": ("overlong", "It is the same formula under a shorter name"),
    "diversity": ("repetition", "It penalises n-grams that repeat within one completion"),
    "fluency": ("repetition", _MODEL),
    "coherence": ("repetition", _MODEL),
    "repetition_penalty": ("repetition", "That word is a sampling parameter of generation"),
    "safety": ("keyword", f"With forbidden=[...] it is a crude filter. {_MODEL}"),
    "toxicity": ("keyword", f"With forbidden=[...] it is a crude filter. {_MODEL}"),
    "harmlessness": ("keyword", f"With forbidden=[...] it is a crude filter. {_MODEL}"),
    "sentiment": ("keyword", _MODEL),
    "politeness": ("keyword", _MODEL),
    "helpfulness": ("keyword", _MODEL),
    "honesty": ("keyword", _MODEL),
    "factuality": ("exact_answer", _MODEL),
    "relevance": ("keyword", _MODEL),
    "domain_specific": ("keyword", "Its words are those of your domain"),
    "instruction_following": (
        "regex",
        'Instructions that a program can check fit "regex", "keyword" or "json_schema"',
    ),
    "code_correctness": ("exact_answer", _CODE),
    "code_execution": ("exact_answer", _CODE),
    "code_quality": ("regex", _CODE),
    "code_syntax": ("regex", _CODE),
    "mbpp_reward": ("exact_answer", _CODE),
    "format": ("xml_tags", 'Others are "think_format", "regex" and "json_schema"'),
    "format_reward": ("xml_tags", 'Others are "think_format", "regex" and "json_schema"'),
    "think_format_reward": ("think_format", 'TRL\'s own is "trl.rewards:think_format_reward"'),
    "reasoning_format": ("think_format", 'Others are "xml_tags" and "regex"'),
    "json": ("json_schema", "Without a schema it asks for JSON alone"),
    "custom": (
        "exact_answer",
        'A function of your own goes in as {"type": "custom", "params": {"function": f}}',
    ),
}
"""Names that tutorials use and that do not exist here -> the nearest built-in, and a sentence that helps.

None is an alias: those names promise more, or something else, than what is here, and a run that silently trains on
another reward than the one it names is worse than an error.
"""


@dataclass(frozen=True)
class RewardParameter:
    """One parameter of a reward."""

    name: str
    description: str
    required: bool
    default: Any = None


@dataclass(frozen=True)
class RewardInfo:
    """One line of a listing.

    Attributes:
        name: as configurations spell it.
        summary: what it scores, one sentence.
        scores: its range.
        reads: what it takes of a sample beside the text: columns, or ``completion_ids``.
        parameters: what ``params`` may set.
        requires: the distribution that it needs, or empty.
        distribution: who brings it.
    """

    name: str
    summary: str
    scores: str = ""
    reads: tuple[str, ...] = ()
    parameters: tuple[RewardParameter, ...] = ()
    requires: str = ""
    distribution: str = "aligntune"


def normalised(name: str) -> str:
    """Names are compared without regard to case, and with hyphens as underscores."""
    return name.strip().lower().replace("-", "_")


def is_own(name: str) -> bool:
    """Whether it is the name of a built-in reward, which no other distribution can take."""
    return normalised(name) in BUILT_IN


def registered(name: str) -> EntryPoint | None:
    """The entry point of that name in ``aligntune.rewards``, or None. Nothing is imported.

    Raises:
        ConfigError: several distributions claim the name.
    """
    claims = [e for e in _entry_points() if normalised(e.name) == normalised(name)]
    if len(claims) > 1:
        raise ConfigError(
            f'the reward "{name}" is claimed by {" and by ".join(str(e.distribution) for e in claims)}. Uninstall one, '
            f'or name the function: "{claims[0].value}"'
        )
    return claims[0] if claims else None


def find_reward(name: str) -> BuiltIn | EntryPoint | None:
    """The reward of that name, or None; a built-in one keeps its name, whoever else claims it.

    Raises:
        ConfigError: several distributions claim the name.
    """
    if not is_own(name):
        return registered(name)
    for entry in _entry_points():
        if normalised(entry.name) == normalised(name):
            _log.warning(
                'the reward "%s" of %s is left out: %s; name its function: "%s"',
                entry.name,
                entry.distribution,
                OWN,
                entry.value,
            )
    return BUILT_IN[normalised(name)]


def reward_names() -> list[str]:
    """All names, sorted."""
    return sorted({*BUILT_IN, *(normalised(e.name) for e in _entry_points())})


def refuse(name: str) -> UnknownReward:
    """The error for an unknown name: it gives the nearest name and the other ways to give a reward."""
    names = reward_names()
    if normalised(name) in UNAVAILABLE:
        nearest, help_ = UNAVAILABLE[normalised(name)]
        return UnknownReward(
            f'there is no reward "{name}"; the nearest is "{nearest}". {help_}. Names: {listed(names)}.'
        )
    return UnknownReward(
        f'there is no reward "{name}".{did_you_mean(normalised(name), names)} Names: {listed(names)}. A function of '
        'your own is given as itself or as "package.module:function", a reward model by its folder or hub id '
        "(owner/name)."
    )


def list_rewards() -> list[RewardInfo]:
    """Every reward known by name: the built-in ones, then the registered ones. Nothing of a third party is imported."""
    infos = [describe(name, entry) for name, entry in BUILT_IN.items()]
    for entry in [e for e in _entry_points() if not is_own(e.name)]:
        infos.append(RewardInfo(entry.name, entry.value, distribution=str(entry.distribution)))
    return infos


def describe(name: str, entry: BuiltIn) -> RewardInfo:
    """Describe a built-in reward from its signature and docstring."""
    function = entry.load()
    parameters = inspect.signature(function).parameters
    inputs = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return RewardInfo(
        name=name,
        summary=(inspect.getdoc(function) or "").partition("\n")[0],
        scores=entry.scores,
        reads=tuple(inputs[1:]),
        parameters=_parameters(function),
        requires=entry.requires,
    )


def _parameters(function: Callable[..., Any]) -> tuple[RewardParameter, ...]:
    hints = get_type_hints(function, include_extras=True)
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            described = next((m.description for m in hints[parameter.name].__metadata__ if m.description), "")
            required = parameter.default is parameter.empty
            parameters.append(
                RewardParameter(parameter.name, described, required, None if required else parameter.default)
            )
    return tuple(parameters)


def _entry_points() -> tuple[EntryPoint, ...]:
    from aligntune_core.entrypoints import entry_points

    return entry_points(GROUP)
