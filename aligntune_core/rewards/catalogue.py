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
    """The entry of a built-in reward."""

    target: str  # "module:function" below ``aligntune_core.rewards.builtin``
    scores: str  # its range, for people
    requires: str = ""  # the distribution that it needs beyond core's own, or empty

    def load(self) -> Callable[..., Any]:
        """The function itself. Its library is imported only when it scores."""
        module, _, function = self.target.partition(":")
        loaded: Callable[..., Any] = getattr(
            importlib.import_module(f"aligntune_core.rewards.builtin.{module}"), function
        )
        return loaded


BUILT_IN: dict[str, BuiltIn] = {
    "exact_answer": BuiltIn("answers:exact_answer", "0 or 1"),
    "math": BuiltIn("answers:math", "0 or 1", "math-verify"),
    "reasoning_gym": BuiltIn("reasoning_gym:reasoning_gym", "0 to 1", "reasoning-gym"),
    "regex": BuiltIn("formats:regex", "0 or 1"),
    "xml_tags": BuiltIn("formats:xml_tags", "0 to 1"),
    "think_format": BuiltIn("formats:think_format", "0 or 1"),
    "json_schema": BuiltIn("formats:json_schema", "0 or 1", "jsonschema"),
    "keyword": BuiltIn("words:keyword", "0 to 1"),
    "length": BuiltIn("words:length", "0 to 1"),
    "overlong": BuiltIn("words:overlong", "-1 to 0"),
    "repetition": BuiltIn("words:repetition", "-1 to 0"),
}

_MODEL = "A reward model judges this: give its hub id or folder as reward_model_name"
_CODE = (
    "Running generated code is not offered; a function of your own that does so in a sandbox goes in as "
    '"package.module:function"'
)
_MATHS = "It compares the final answer with the row's, mathematically"

_OWN_FUNCTION = 'A function of your own goes in as {"type": "custom", "params": {"function": f}}'
_INSTRUCTIONS = 'Instructions that a program can check fit "regex", "keyword" or "json_schema"'
_LENGTH = "Its parameters are min_length, max_length, unit"
_FILTER = f"With forbidden=[...] it is a crude filter. {_MODEL}"
_FORMATS = 'Others are "think_format", "regex" and "json_schema"'
_OVERLAP = "Overlap with a reference is not offered"

# The nearest built-in, a sentence that helps, and the names that it is nearest to.
_NEAREST: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("math", _MATHS, ("math_correctness", "math_accuracy", "math_equivalence", "math_verify")),
    ("math", _MATHS + '; add "think_format" for a visible chain of thought', ("math_reasoning",)),
    ("math", _MATHS + '; "exact_answer" compares text', ("accuracy",)),
    ("math", _MATHS + '. TRL\'s own is "trl.rewards:accuracy_reward"', ("accuracy_reward",)),
    ("exact_answer", 'For mathematics there is "math"', ("correctness",)),
    ("exact_answer", "It compares the final answer inside the completion", ("exact_match",)),
    ("exact_answer", _OVERLAP, ("bleu", "rouge")),
    ("exact_answer", _MODEL, ("factuality",)),
    ("exact_answer", _CODE, ("code_correctness", "code_execution", "mbpp_reward")),
    ("exact_answer", _OWN_FUNCTION, ("custom",)),
    ("length", _LENGTH, ("length_penalty", "length_reward", "conciseness", "brevity")),
    ("overlong", "It is the same formula under a shorter name", ("soft_overlong_punishment",)),
    ("repetition", "It penalises n-grams that repeat within one completion", ("diversity",)),
    ("repetition", "That word is a sampling parameter of generation", ("repetition_penalty",)),
    ("repetition", _MODEL, ("fluency", "coherence")),
    ("keyword", _FILTER, ("safety", "toxicity", "harmlessness")),
    ("keyword", _MODEL, ("sentiment", "politeness", "helpfulness", "honesty", "relevance")),
    ("keyword", "Its words are those of your domain", ("domain_specific",)),
    ("regex", _INSTRUCTIONS, ("instruction_following",)),
    ("regex", _CODE, ("code_quality", "code_syntax")),
    ("xml_tags", _FORMATS, ("format", "format_reward")),
    ("think_format", 'TRL\'s own is "trl.rewards:think_format_reward"', ("think_format_reward",)),
    ("think_format", 'Others are "xml_tags" and "regex"', ("reasoning_format",)),
    ("json_schema", "Without a schema it asks for JSON alone", ("json",)),
)

UNAVAILABLE = {name: (nearest, help_) for nearest, help_, names in _NEAREST for name in names}
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
    """One line of a listing."""

    name: str  # as configurations spell it
    summary: str  # what it scores, one sentence
    scores: str = ""  # its range
    reads: tuple[str, ...] = ()  # what it takes of a sample beside the text: columns, or ``completion_ids``
    parameters: tuple[RewardParameter, ...] = ()  # what ``params`` may set
    requires: str = ""  # the distribution that it needs, or empty
    distribution: str = "aligntune"  # who brings it


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
            remark = (
                f'the reward "{entry.name}" of {entry.distribution} is left out: {OWN}; name its function'
            )
            _log.warning('%s: "%s"', remark, entry.value)
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
    others = [e for e in _entry_points() if not is_own(e.name)]
    return [
        *(describe(name, entry) for name, entry in BUILT_IN.items()),
        *(RewardInfo(e.name, e.value, distribution=str(e.distribution)) for e in others),
    ]


def describe(name: str, entry: BuiltIn) -> RewardInfo:
    """Describe a built-in reward from its signature and docstring."""
    function = entry.load()
    hints = get_type_hints(function, include_extras=True)
    declared = inspect.signature(function).parameters.values()
    parameters = [
        RewardParameter(
            name=p.name,
            description=next((m.description for m in hints[p.name].__metadata__ if m.description), ""),
            required=p.default is p.empty,
            default=None if p.default is p.empty else p.default,
        )
        for p in declared
        if p.kind is p.KEYWORD_ONLY
    ]
    return RewardInfo(
        name=name,
        summary=(inspect.getdoc(function) or "").partition("\n")[0],
        scores=entry.scores,
        reads=tuple(p.name for p in declared if p.kind is p.POSITIONAL_OR_KEYWORD)[1:],
        parameters=tuple(parameters),
        requires=entry.requires,
    )


def _entry_points() -> tuple[EntryPoint, ...]:
    from aligntune_core.entrypoints import entry_points

    return entry_points(GROUP)
