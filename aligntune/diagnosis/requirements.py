"""Conflicts between what is required and what is installed, over everything that a run would import.

The registry looks at a plugin's direct requirements only, since a listing has to be quick. Here the whole tree below
core and each backend is read, from metadata alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    """One requirement that the environment does not meet.

    Attributes:
        requirement: as written: "torch<2.13".
        found: the installed version, or None.
        wanted_by: who requires it.
    """

    requirement: str
    found: str | None
    wanted_by: Distribution

    def __str__(self) -> str:
        state = f"{self.found} is installed" if self.found else "it is not installed"
        return f"{self.wanted_by} needs {self.requirement}, but {state}"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        name = self.wanted_by.name
        if self.found and self.wanted_by.canonical in COMPANIONS:
            return f'pip uninstall {name} (only Unsloth on a GPU may need it), or pip install "{self.requirement}"'
        return f'pip install "{self.requirement}"'


@dataclass(frozen=True)
class Tree:
    """What was found below core and its backends.

    Attributes:
        distributions: every installed one by normalised name, companions too.
        conflicts: unmet requirements among them.
    """

    distributions: dict[str, Distribution]
    conflicts: list[Conflict]


def examine(backends: Iterable[Distribution]) -> Tree:
    """Walk the requirements of core, of ``backends`` and of installed companions."""
    core = installed("aligntune")
    companions = [d for d in map(installed, COMPANIONS) if d]
    roots = [*([core] if core else []), *backends, *companions]
    queue = [(distribution, frozenset[str]()) for distribution in roots]
    seen = set(queue)
    conflicts: dict[Conflict, None] = {}
    for distribution, extras in queue:  # grows while it is walked
        for requirement in _needs(distribution, extras):
            there = installed(requirement.name)
            if there is None and _spare(requirement, distribution):
                continue
            if there is None or not requirement.specifier.contains(there.version, prereleases=True):
                spelt = f"{canonicalize_name(requirement.name)}{requirement.specifier}"
                conflicts[Conflict(spelt, there.version if there else None, distribution)] = None
            below = (there, frozenset(requirement.extras)) if there else None
            if below and below not in seen:
                seen.add(below)
                queue.append(below)
    return Tree({d.canonical: d for d, _ in sorted(queue, key=lambda q: q[0].canonical)}, list(conflicts))


def _spare(requirement: Requirement, wanted_by: Distribution) -> bool:
    """Whether an absent requirement is none on this machine."""
    torch = installed("torch")
    return (
        wanted_by.canonical in ("unsloth", "unsloth-zoo", "cut-cross-entropy")
        and canonicalize_name(requirement.name) in GPU_ONLY
        and torch is not None
        and torch.version.endswith("+cpu")
    )


def _needs(distribution: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for requirement in map(Requirement, distribution.requires):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or {""})):
            yield requirement
