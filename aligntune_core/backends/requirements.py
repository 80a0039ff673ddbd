"""Compare the requirements of distributions with what is installed, from metadata alone.

``walk`` goes down from any of them. A listing, which has to be quick, looks at a plugin's own requirements and at
those of the plugins below it; ``aligntune doctor`` at the whole tree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from aligntune_core.entrypoints import Distribution, entry_points, installed, installed_version
from aligntune_core.version import __version__

CORE = "aligntune"

FROM_CLONE: dict[str, str] = {
    name: " -e plugins/".join(["From a clone of aligntune: pip install -e .", *folders])
    for name, folders in json.loads(
        Path(__file__).with_name("clone.json").read_text(encoding="utf-8")
    ).items()
}
"""How to install what this repository holds; none of it is on an index yet, where "aligntune" is not ours."""


def install_hint(requirement: str) -> str:
    """The command that brings "trl>=1.14,<2"."""
    name = canonicalize_name(Requirement(requirement).name)
    return FROM_CLONE.get(name) or f'pip install "{requirement}"'


@dataclass(frozen=True)
class Demand:
    """One requirement that counts here, beside what is installed."""

    requirement: Requirement  # with its marker
    by: Distribution  # the distribution that requires it
    because: str = ""  # the requirement whose extra asks for it or the plugin below that does, or empty

    @cached_property
    def name(self) -> str:
        """The required distribution's normalised name."""
        return canonicalize_name(self.requirement.name)

    @cached_property
    def version(self) -> str | None:
        """The installed version, or None."""
        return installed_version(self.name)

    @property
    def met(self) -> bool:
        """Whether the installed version will do. Pre-releases count: somebody has installed it on purpose."""
        specifier = self.requirement.specifier
        try:
            return self.version is not None and specifier.contains(Version(self.version), prereleases=True)
        except InvalidVersion:
            return not specifier

    @property
    def spelt(self) -> str:
        """As written, without the marker: "transformers[torch]>=5"."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        return f"{self.requirement.name}{extras}{self.requirement.specifier}"

    def __str__(self) -> str:
        state = f"version {self.version} is installed" if self.version else "is not installed"
        return f"{self.spelt} ({state}{f', needed by {self.because}' if self.because else ''})"

    @property
    def hint(self) -> str:
        """The command that brings it."""
        return install_hint(self.spelt)


def demands(distribution: Distribution, extras: frozenset[str] = frozenset()) -> list[Demand]:
    """The requirements of a distribution whose markers hold here, for one of the extras or for none.

    Raises:
        packaging.requirements.InvalidRequirement: one cannot be parsed; so do all functions below.
    """
    return [
        Demand(requirement, distribution)
        for requirement in map(Requirement, distribution.requires)
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in extras or ("",))
    ]


def walk(
    roots: Iterable[Distribution],
    below: Callable[[Demand], Distribution | None] = lambda demand: installed(demand.name),
) -> Iterator[tuple[Distribution, frozenset[str]]]:
    """``roots`` and all that lies below them with the extras that are asked for, breadth first, no pair twice.

    The requirements of each are parsed after it was yielded, so that the caller of a parse error knows whose they are.
    """
    queue = [(root, frozenset[str]()) for root in roots]
    seen = set(queue)
    for pair in queue:  # grows while it is walked
        yield pair
        for demand in demands(*pair):
            if lower_distribution := below(demand):
                lower = (lower_distribution, frozenset(demand.requirement.extras))
                if lower not in seen:
                    seen.add(lower)
                    queue.append(lower)


def with_plugins(distribution: Distribution) -> Iterator[Distribution]:
    """``distribution``, then the installed plugins of aligntune that it requires, and those that they require.

    A plugin of the wrong version is left out, as another version has other requirements.
    """
    seen = set()
    for below, _ in walk([distribution], _plugin):
        if below not in seen:
            seen.add(below)
            yield below


def _plugin(demand: Demand) -> Distribution | None:
    """The installed plugin of aligntune that answers a demand, or None."""
    if demand.name == CORE:
        return None
    owners = (e.distribution for e in entry_points("aligntune.backends"))
    plugin = next((owner for owner in owners if owner.canonical == demand.name), None)
    if plugin is None and demand.name.startswith(CORE):
        plugin = installed(demand.name)
    return plugin if plugin and demand.met else None


def missing(distribution: Distribution) -> list[Demand]:
    """The direct requirements of ``distribution`` that this environment does not meet, core's own left out.

    An extra of a direct requirement (``transformers[torch]``) is looked into, no deeper.
    """
    unmet = []
    for demand in demands(distribution):
        extras = frozenset(demand.requirement.extras)
        if demand.name != CORE and not demand.met:
            unmet.append(demand)
        elif demand.name != CORE and extras and (dependency := installed(demand.name)):
            own = demands(dependency)
            unmet += [
                replace(d, because=demand.spelt)
                for d in demands(dependency, extras)
                if d not in own and not d.met
            ]
    return unmet


def core_mismatch(distribution: Distribution) -> str | None:
    """The core versions ``distribution`` was built for where ours is not among them, else None.

    A distribution that states none is taken as compatible.
    """
    specifiers = [d.requirement.specifier for d in demands(distribution) if d.name == CORE]
    return ", ".join(str(s) for s in specifiers if not s.contains(__version__, prereleases=True)) or None
