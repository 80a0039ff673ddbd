"""Requirements that are not met among everything that a run would import, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_

from packaging.specifiers import SpecifierSet

from aligntune_core.backends.requirements import Demand, demands, install_hint, walk
from aligntune_core.entrypoints import Distribution, installed

# Libraries that the training stack imports where it finds them, though nothing but Unsloth on a GPU requires any.
COMPANIONS = (
    "torchvision",
    "torchaudio",
    "triton",
    "xformers",
    "flash-attn",
    "liger-kernel",
    "deepspeed",
    "vllm",
    "kernels",
)

# What unsloth requires for GPUs alone. Beside a torch for CPUs these builds do not load, and nothing uses them.
GPU_ONLY = frozenset({"torchvision", "triton", "xformers", "diffusers"})


@dataclass(frozen=True)
class Conflict:
    """One requirement that the environment does not meet, and what to do about it."""

    demand: Demand
    remedy: str

    def __str__(self) -> str:
        version = self.demand.version
        state = f"{version} is installed" if version else "it is not installed"
        return f"{self.demand.by} needs {_normalised(self.demand)}, but {state}"


@dataclass(frozen=True)
class Tree:
    """The installed distributions below core and its backends.

    Attributes:
        distributions: every installed one by normalised name, companions too.
        conflicts: unmet requirements among them.
    """

    distributions: dict[str, Distribution]
    conflicts: list[Conflict]


def examine(backends: Iterable[Distribution]) -> Tree:
    """Walk the requirements of core, of ``backends`` and of installed companions."""
    core = [core] if (core := installed("aligntune")) else []
    companions = [d for d in map(installed, COMPANIONS) if d]
    pairs = list(walk([*core, *backends, *companions]))
    every = [demand for pair in pairs for demand in demands(*pair)]
    unmet = {(d.by, _normalised(d)): d for d in every if not d.met and not _spare(d)}
    distributions = sorted((distribution for distribution, _ in pairs), key=lambda d: d.canonical)
    return Tree({d.canonical: d for d in distributions}, _with_remedies(unmet.values(), every))


def _normalised(demand: Demand) -> str:
    """Name and versions in one spelling: "torch<2.13"."""
    return f"{demand.name}{demand.requirement.specifier}"


def _with_remedies(unmet: Iterable[Demand], every: Sequence[Demand]) -> list[Conflict]:
    """Each unmet demand with the one command that mends it beside everything that stays.

    What has to be replaced demands nothing, as another version needs other things, and is replaced first.
    """
    replaced: dict[str, Demand] = {}
    for demand in unmet:
        if not _of_companion(demand) and demand.by.canonical not in {*replaced, demand.name}:
            replaced[demand.name] = demand
    return [Conflict(demand, _remedy(demand, replaced, every)) for demand in unmet]


def _remedy(unmet: Demand, replaced: dict[str, Demand], every: Sequence[Demand]) -> str:
    while unmet.by.canonical in replaced:  # ends: each step leads to one that was entered later
        unmet = replaced[unmet.by.canonical]
    staying = [d for d in every if d.name == unmet.name and d.by.canonical not in replaced]
    versions = reduce(and_, (d.requirement.specifier for d in staying), SpecifierSet())
    install = install_hint(f"{unmet.name}{versions}")
    if _of_companion(unmet):
        return f"pip uninstall {unmet.by.name} (only Unsloth on a GPU may need it), or {install}"
    return install


def _of_companion(demand: Demand) -> bool:
    """Whether a companion makes this demand, so that removing the companion removes it."""
    return demand.version is not None and demand.by.canonical in COMPANIONS


def _spare(demand: Demand) -> bool:
    """Whether an absent requirement is not needed on this machine."""
    torch = installed("torch")
    return (
        demand.version is None
        and demand.by.canonical in ("unsloth", "unsloth-zoo", "cut-cross-entropy")
        and demand.name in GPU_ONLY
        and torch is not None
        and torch.version.endswith("+cpu")
    )
