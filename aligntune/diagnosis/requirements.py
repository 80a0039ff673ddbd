"""Conflicts between what is required and what is installed, over everything that a run would import.

The registry looks at the requirements of plugins only, since a listing has to be quick. Here the whole tree below
core and each backend is read, from metadata alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from aligntune_core.backends.requirements import install_hint
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

# Normalised name -> who requires it, and the versions that would do.
Demands = dict[str, list[tuple[str, SpecifierSet]]]


@dataclass(frozen=True)
class Conflict:
    """One requirement that the environment does not meet.

    Attributes:
        name: what is required, normalised.
        specifier: the versions that would do.
        found: the installed version, or None.
        wanted_by: who requires it.
        remedy: what to do about it.
    """

    name: str
    specifier: SpecifierSet
    found: str | None
    wanted_by: Distribution
    remedy: str = ""

    def __str__(self) -> str:
        state = f"{self.found} is installed" if self.found else "it is not installed"
        return f"{self.wanted_by} needs {self.requirement}, but {state}"

    @property
    def requirement(self) -> str:
        """Both in one: "torch<2.13"."""
        return f"{self.name}{self.specifier}"

    @property
    def of_companion(self) -> bool:
        """Whether it goes with the companion that asks."""
        return self.found is not None and self.wanted_by.canonical in COMPANIONS


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
    demands: Demands = {}
    for distribution, extras in queue:  # grows while it is walked
        for requirement in _needs(distribution, extras):
            name, wanted = canonicalize_name(requirement.name), requirement.specifier
            demands.setdefault(name, []).append((distribution.canonical, wanted))
            there = installed(name)
            if there is None and _spare(requirement, distribution):
                continue
            if there is None or not wanted.contains(there.version, prereleases=True):
                conflicts[Conflict(name, wanted, there.version if there else None, distribution)] = None
            below = (there, frozenset(requirement.extras)) if there else None
            if below and below not in seen:
                seen.add(below)
                queue.append(below)
    distributions = {d.canonical: d for d, _ in sorted(queue, key=lambda q: q[0].canonical)}
    return Tree(distributions, _with_remedies(list(conflicts), demands))


def _with_remedies(conflicts: list[Conflict], demands: Demands) -> list[Conflict]:
    """Each conflict with the one command that mends it beside everything that stays.

    What has to be replaced demands nothing, as another version needs other things, and is replaced first.
    """
    replaced: dict[str, Conflict] = {}
    for conflict in conflicts:
        if not conflict.of_companion and conflict.wanted_by.canonical not in {*replaced, conflict.name}:
            replaced[conflict.name] = conflict
    return [replace(c, remedy=_remedy(c, replaced, demands)) for c in conflicts]


def _remedy(conflict: Conflict, replaced: dict[str, Conflict], demands: Demands) -> str:
    while conflict.wanted_by.canonical in replaced:  # ends: each step leads to one that was entered later
        conflict = replaced[conflict.wanted_by.canonical]
    wanted = SpecifierSet()
    for requirer, specifier in demands[conflict.name]:
        if requirer not in replaced:
            wanted &= specifier
    install = install_hint(f"{conflict.name}{wanted}")
    if conflict.of_companion:
        return f"pip uninstall {conflict.wanted_by.name} (only Unsloth on a GPU may need it), or {install}"
    return install


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
