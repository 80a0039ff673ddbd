"""What core knows of an algorithm: name, rows, parameters. How it trains is a backend's affair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel

Kind = Literal["sft", "rl"]


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
    """What an algorithm may need to know to count its optimiser steps.

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
        kind: "sft" (``create_sft_trainer``) or "rl" (``create_rl_trainer``).
        columns: canonical columns of its rows; ("prompt",) means that it generates and scores completions.
        parameters: pydantic model whose fields become keywords of the calls.
        paper: URL of the paper it follows.
        title: its name as people write it.
        aliases: other names.
        defaults: config path -> default of the tree for this algorithm: a ``Default`` or a plain value.
        updates_per_epoch: optimiser steps in one pass over the rows; default: as transformers' Trainer.
        fill: config -> (path, value, reason) of defaults that depend on the rest of the configuration.
        problems: config -> a sentence for each setting that cannot work with the rest of the configuration.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    parameters: type[BaseModel]
    paper: str = ""
    title: str = ""
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    updates_per_epoch: Callable[[Any, Batch], int] | None = None
    fill: Callable[[Any], Iterable[tuple[str, Any, str]]] | None = None
    problems: Callable[[Any], Iterable[str]] | None = None

    @property
    def online(self) -> bool:
        """Whether it generates its own completions and scores them with rewards."""
        return tuple(self.columns) == ("prompt",)

    def has(self, only: str) -> bool:
        """Whether it has the fields of the tree that are for "sft", "online" or "offline" algorithms only; "": all."""
        return {"sft": self.kind == "sft", "online": self.online, "offline": not self.online}.get(only, True)


def epochs(number: float, source: str) -> Default:
    """Passes over the rows, with an adapter or without."""
    return Default(number, number, source)


def learning_rate(full: float, lora: float, source: str) -> Default:
    """A learning rate for full fine-tuning, and ten times it for an adapter."""
    return Default(full, lora, f"{source}; ten times that with LoRA, https://thinkingmachines.ai/blog/lora/")
