"""What a distribution requires against what is installed: its own requirements and those of plugins below it.

Conflicts deeper in the tree, and libraries that import badly, are ``aligntune doctor``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from aligntune_core.entrypoints import Distribution, entry_points, installed, installed_version
from aligntune_core.version import __version__

CORE = "aligntune"

_CLONE = "From a clone of aligntune: pip install -e ."
_TRL = f"{_CLONE} -e plugins/aligntune-trl"

# Distributions of this repository; they are not on an index yet, and what is called aligntune there is not ours.
FROM_CLONE = {
    "aligntune": _CLONE,
    "aligntune-trl": _TRL,
    "aligntune-unsloth": f"{_TRL} -e plugins/aligntune-unsloth",
    "aligntune-torch": f"{_CLONE} -e plugins/aligntune-torch",
}


@dataclass(frozen=True)
class Missing:
    """A requirement that is not met.

    Attributes:
        requirement: as written: "trl>=1.14,<2".
        found: the installed version, or None.
        wanted_by: the requirement whose extra asks for it or the plugin below that does, or empty.
    """

    requirement: str
    found: str | None
    wanted_by: str = ""

    def __str__(self) -> str:
        state = f"version {self.found} is installed" if self.found else "is not installed"
        return f"{self.requirement} ({state}{f', needed by {self.wanted_by}' if self.wanted_by else ''})"

    @property
    def hint(self) -> str:
        """The command that brings it."""
        return install_hint(self.requirement)


def install_hint(requirement: str) -> str:
    """The command that brings "trl>=1.14,<2"."""
    name = canonicalize_name(Requirement(requirement).name)
    return FROM_CLONE.get(name) or f'pip install "{requirement}"'


def with_plugins(distribution: Distribution) -> Iterator[Distribution]:
    """``distribution``, then the installed plugins of aligntune that it requires, and those that they require.

    Not one whose version will not do: another version needs other things. Each is parsed after it was yielded, so
    that who cannot read one knows which it was.

    Raises:
        packaging.requirements.InvalidRequirement: a requirement that cannot be parsed.
    """
    queue, seen = [distribution], {CORE, distribution.canonical}
    for above in queue:  # grows while it is walked
        yield above
        for requirement in _parsed(above.requires):
            name = canonicalize_name(requirement.name)
            plugin = _plugin(name) if name not in seen and _applies(requirement, "") else None
            if plugin and _admits(requirement, plugin.version):
                seen.add(name)
                queue.append(plugin)


def _plugin(name: str) -> Distribution | None:
    """The installed plugin of that normalised name, or None."""
    owners = (e.distribution for e in entry_points("aligntune.backends") if e.distribution.canonical == name)
    return next(owners, None) or (installed(name) if name.startswith(CORE) else None)


def missing(distribution: Distribution) -> list[Missing]:
    """The direct requirements of ``distribution`` that this environment does not meet, core's own left out.

    Markers are evaluated without extras; an extra of a direct requirement (``transformers[torch]``) is looked
    into.

    Raises:
        packaging.requirements.InvalidRequirement: a requirement that cannot be parsed.
    """
    return list(_unmet(_parsed(distribution.requires)))


def core_mismatch(distribution: Distribution) -> str | None:
    """The core versions ``distribution`` was built for where ours is not among them, else None.

    A distribution that states none is taken as compatible.

    Raises:
        packaging.requirements.InvalidRequirement: a requirement that cannot be parsed.
    """
    wanted = [
        r for r in _parsed(distribution.requires) if canonicalize_name(r.name) == CORE and _applies(r, "")
    ]
    refused = [str(r.specifier) for r in wanted if not r.specifier.contains(__version__, prereleases=True)]
    return ", ".join(refused) or None


def _parsed(lines: Iterable[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines]


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _unmet(requirements: Iterable[Requirement]) -> Iterator[Missing]:
    for requirement in requirements:
        if canonicalize_name(requirement.name) == CORE or not _applies(requirement, ""):
            continue
        found = installed_version(requirement.name)
        if found is None or not _admits(requirement, found):
            yield Missing(_spelt(requirement), found)
        elif requirement.extras:
            yield from _unmet_extras(requirement)


def _unmet_extras(requirement: Requirement) -> Iterator[Missing]:
    """What the extras of an installed requirement ask for; one level, no deeper."""
    distribution = installed(requirement.name)
    for inner in _parsed(distribution.requires if distribution else ()):
        if _applies(inner, "") or not any(_applies(inner, extra) for extra in requirement.extras):
            continue
        found = installed_version(inner.name)
        if found is None or not _admits(inner, found):
            yield Missing(_spelt(inner), found, wanted_by=_spelt(requirement))


def _admits(requirement: Requirement, version: str) -> bool:
    """Whether the installed ``version`` will do. Pre-releases count: somebody has installed it on purpose."""
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return not requirement.specifier


def _spelt(requirement: Requirement) -> str:
    """The requirement without its marker."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"
