"""The configuration tree: its sections, and what scores completions. Every field has type, range, unit and aliases.

Config paths are dotted attribute paths of ``Config`` (``"optim.learning_rate"``). What is still "auto" or, where
no ``off`` is stated, ``None`` after a call is read, ``aligntune_core.config.resolve.resolution`` fills in.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, PrivateAttr, field_validator

from aligntune_core.config.schema.data import DataConfig
from aligntune_core.config.schema.optim import OptimConfig
from aligntune_core.config.schema.run import RunConfig
from aligntune_core.config.schema.weights import ModelConfig, PeftConfig
from aligntune_core.fields import Section, option, ours

AnySection = TypeVar("AnySection", bound=BaseModel)


class RewardsConfig(Section):
    """What scores completions in online algorithms."""

    functions: list[Any] = option(
        "callables, names, package.module:function, reward models, or dicts {type, weight, params}",
        [],
        keyword="reward_functions",
        aliases=("rewards", "reward_funcs"),
        only="rewards",
        example=["length"],
    )
    weights: list[float] | None = option(
        "weight of each function",
        None,
        keyword="reward_function_weights",
        aliases=("reward_weights",),
        only="rewards",
        off="1 each",
        example=[0.5],
    )
    model: Any = option(
        "hub id or folder of a sequence-classification reward model, or one in memory",
        None,
        keyword="reward_model_name",
        aliases=("reward_model_path", "reward_model"),
        only="rewards",
        off="none",
        example="a-reward-model",
    )

    @field_validator("functions", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return list(value) if isinstance(value, (list, tuple)) else [value]


def replaced(section: AnySection, path: str, value: Any) -> AnySection:
    """A copy with the value at a dotted path changed; not checked."""
    name, _, inner = path.partition(".")
    value = replaced(getattr(section, name), inner, value) if inner else value
    return section.model_copy(update={name: value})


class Config(Section):
    """One run, whole.

    Two are equal where all their fields are; where the values came from does not count.
    """

    algorithm: str = ours("sft, dpo, ... (see aligntune algorithms)", on_resume="held")
    backend: str = ours("name of an installed backend, or auto", "auto")
    isolation: Literal["none", "process"] = ours("run the backend in a process of its own", "none")
    backend_options: dict[str, Any] = ours("options that only this backend has", {})
    model: ModelConfig
    peft: PeftConfig = option("the adapter", PeftConfig(), on_resume="held")
    data: DataConfig
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()
    rewards: RewardsConfig = option("what scores completions", RewardsConfig(), on_resume="changes")
    parameters: Any = ours("the algorithm's own parameters", None, on_resume="changes")

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _defaults: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def sources(self) -> dict[str, str]:
        """Config path -> where its value is from: "call", "file x.yaml:3", "default ...", "resolved: ..."."""
        return self._sources

    def decided(self, path: str, value: Any, source: str) -> Config:
        """A copy with one value changed, and where it is from."""
        copy = replaced(self, path, value)
        copy._sources = {**self._sources, path: source}
        return copy

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]  # holds lists and dicts
