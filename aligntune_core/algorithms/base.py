"""An algorithm as core sees it: name, rows, parameters, traits. How it is trained is the backend's part.

Nothing outside ``algorithms/`` asks for an algorithm by its name: core, backends and the kit ask for its traits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel

Kind = Literal["sft", "rl"]
Head = Literal["lm", "score", "token"]
LongRows = Literal["cut", "drop", "refuse"]
ScoredBy = Literal["rewards", "judge", "teacher"]

# Formats whose rows hold the text to imitate.
SUPERVISED = frozenset({"tokens", "messages", "pair", "text"})


@dataclass(frozen=True)
class Default:
    """A default of the tree that differs by algorithm.

    Attributes:
        full: value for full fine-tuning.
        lora: value with an adapter.
        source: where both come from.
    """

    full: Any
    lora: Any
    source: str


@dataclass(frozen=True)
class Batch:
    """The sizes that an algorithm may need to count its optimiser steps.

    Attributes:
        rows: training rows.
        size: rows a device and micro-batch.
        accumulation: micro-batches an optimiser step, in this process.
        world_size: processes.
    """

    rows: int
    size: int
    accumulation: int
    world_size: int = 1


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """One algorithm. Third parties register theirs in the entry-point group ``aligntune.algorithms``.

    Attributes:
        name: canonical name: "dpo". Case, "-", "_" and "." do not count when it is looked up.
        parameters: pydantic model whose fields become keywords of the calls.
        formats: what its rows may look like, the first that fits is taken: names of core's formats ("messages", "pair",
            "text", "preference", "prompts", ...) or ``aligntune_core.toolkit.Format`` objects.
        head: what the trained model has: "lm" writes text, "score" gives a text one number, "token" each token one.
        needs_reference: whether training compares the policy with the one that it was at its start; a function of the
            parameters where that depends on them.
        generates: whether it writes completions while it trains.
        scored_by: what judges those: "rewards" (the configuration's reward functions and models), "judge", "teacher".
        long_rows: what becomes of a row beyond ``max_seq_length``: "cut", "drop" (left out by the library, so refused
            unless ``on_bad_rows="drop"``) or "refuse".
        figures: names of its evaluation's own figures, beside the loss -> what each says.
        defaults: config path -> default of the tree for this algorithm: a ``Default`` or a plain value.
        fill: config -> (path, value, reason) of defaults that depend on the rest of the configuration.
        problems: config -> a sentence for each setting that cannot work with the rest of the configuration.
        updates_per_epoch: optimiser steps in one pass over the rows; default: as transformers' Trainer.
        paper: URL of the paper it follows.
        title: its name as people write it.
        aliases: other names.
    """

    name: str
    parameters: type[BaseModel]
    formats: tuple[Any, ...]
    head: Head = "lm"
    needs_reference: bool | Callable[[Any], bool] = False
    generates: bool = False
    scored_by: ScoredBy | None = None
    long_rows: LongRows = "cut"
    figures: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fill: Callable[[Any], Iterable[tuple[str, Any, str]]] | None = None
    problems: Callable[[Any], Iterable[str]] | None = None
    updates_per_epoch: Callable[[Any, Batch], int] | None = None
    paper: str = ""
    title: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def supervised(self) -> bool:
        """Whether it imitates the text of its rows."""
        return any(name in SUPERVISED for name in self.formats if isinstance(name, str))

    @property
    def kind(self) -> Kind:
        """The call that makes it: "sft" (``create_sft_trainer``) or "rl" (``create_rl_trainer``)."""
        return "sft" if self.supervised else "rl"

    def compares(self, parameters: Any) -> bool:
        """Whether it needs a reference policy with these parameters."""
        needs = self.needs_reference
        return bool(needs(parameters)) if callable(needs) else needs

    def has(self, only: str) -> bool:
        """Whether it has a field that is for algorithms of one trait only.

        Args:
            only: "supervised", "generates", "offline" (does not generate), "rewards" (scored by them), "cut" (long rows
                are cut); "": all.
        """
        traits = {
            "": True,
            "supervised": self.supervised,
            "generates": self.generates,
            "offline": not self.generates,
            "rewards": self.scored_by == "rewards",
            "cut": self.long_rows == "cut",
        }
        return traits[only]


def epochs(number: float, source: str) -> Default:
    """Passes over the rows, with an adapter or without."""
    return Default(number, number, source)


def learning_rate(full: float, lora: float, source: str) -> Default:
    """A learning rate for full fine-tuning, and ten times it for an adapter."""
    return Default(full, lora, f"{source}; ten times that with LoRA, https://thinkingmachines.ai/blog/lora/")
