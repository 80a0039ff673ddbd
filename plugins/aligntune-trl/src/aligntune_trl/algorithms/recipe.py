"""How TRL trains an algorithm: one ``Recipe`` in each file of this folder, and those that extensions register. Light.

A file (or folder) is named like its algorithm and holds its recipe in capitals: ``algorithms/dpo.py`` has ``DPO``. What
an algorithm is for everybody, its parameters and traits, is core's ``Algorithm``; here is what TRL has for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from aligntune_core.toolkit import keep

if TYPE_CHECKING:
    from aligntune_core.toolkit import Table

# TRL would add the load-balancing loss of a mixture of experts by itself; see model/router.py.
NO_ROUTER_LOSS = {"router_aux_loss_coef": 0.0}

_PACKAGE, _, _THIS = __name__.rpartition(".")


@dataclass(frozen=True)
class Figure:
    """One figure of an evaluation.

    Attributes:
        name: TRL's name of it, without "eval_".
        of: TRL's value -> ours.
    """

    name: str
    of: Callable[[float], float] = keep


def rows_of(inputs: Mapping[str, Any]) -> dict[str, int]:
    """Loss and figures are means over the rows of a micro-batch: as many as its tensors are long."""
    return {"": next((len(value) for value in inputs.values() if getattr(value, "ndim", 0)), 1)}


def tokens_of(labels: Any) -> int:
    """Trained tokens: labels (rows, tokens) that are not -100; the first of a row is predicted from nothing."""
    return int((labels[..., 1:] != -100).sum())


@dataclass(frozen=True)
class Counts:
    """What TRL's loss and figures of one micro-batch are means over; with it means of many are put together.

    Attributes:
        of: inputs of a micro-batch -> TRL's name of a figure, or "loss" -> how many tokens, pairs or rows it is the
            mean of here; "" is for all that are not named.
        ends: figures that are no means, but the least or the greatest value.
        differences: figure -> the two whose difference it is.
    """

    of: Callable[[Mapping[str, Any]], Mapping[str, int]] = rows_of
    ends: Mapping[str, Callable[[Iterable[float]], float]] = field(default_factory=dict)
    differences: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What TRL has for one algorithm.

    Attributes:
        name: of the algorithm.
        arguments: its argument class, "trl:DPOConfig". Parameters go to the fields of their names. What the class lacks
            of the table is refused where it is set.
        trainer: its trainer class, "trl:DPOTrainer"; empty where ``build`` is given.
        fixed: fields of the argument class that no keyword reaches, and that must not depend on the library's version.
        own: arguments that are written or read otherwise than in the table, or than by a parameter's own name.
        figures: our names of its evaluation's figures.
        native_figures: all that TRL calls them; empty where they are named after rewards.
        counts: what its loss and figures are means over; by default the rows of a batch.
        copies_policy: whether its reference becomes a frozen copy of the policy where biases train beside an adapter.
        problems: configuration, not resolved -> a sentence for each combination that cannot run. Light.
        build: "module:function" of (loaded, config, datasets, prepared, run) that returns the engine; where empty,
            ``trainer.build`` does.
    """

    name: str
    arguments: str
    trainer: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    own: Table = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    native_figures: tuple[str, ...] = ()
    counts: Counts = Counts()
    copies_policy: bool = True
    problems: Callable[[Any], Iterable[str]] = lambda _: ()
    build: str = ""

    def metric(self, name: str) -> str:
        """TRL's name of a figure of the evaluation; one that is not ours stays as it is."""
        ours = self.figures.get(name.removeprefix("eval_"))
        return name if ours is None or ours.name == name.removeprefix("eval_") else f"eval_{ours.name}"


_registered: dict[str, Recipe] = {}


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The algorithms of this folder, told from its files: listings import none of them."""
    files = iter_modules([str(Path(__file__).parent)])
    return tuple(module.name for module in files if module.name != _THIS)


def find(name: str) -> Recipe | None:
    """The recipe of an algorithm: this folder's or an extension's; None where there is none."""
    if name not in names():
        return _registered.get(name)
    recipe: Recipe = getattr(import_module(f"{_PACKAGE}.{name}"), name.upper())
    return recipe


def register(recipe: Recipe) -> None:
    """Make an extension's recipe known; its ``supports_algorithm`` says whether it is trained.

    Raises:
        ValueError: the algorithm has a recipe already.
    """
    if recipe.name in names() or _registered.get(recipe.name, recipe) != recipe:
        raise ValueError(f'the trl backend has a recipe of "{recipe.name}" already')
    _registered[recipe.name] = recipe


def imported(where: str) -> Any:
    """What "module:name" is."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
