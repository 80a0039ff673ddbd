"""Direct requirements against what is installed: versions, markers, extras, odd versions."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from aligntune_core.backends.registry import HINTS, Registry
from aligntune_core.backends.requirements import FROM_CLONE, core_mismatch, missing
from aligntune_core.entrypoints import Distribution
from aligntune_core.version import __version__

if TYPE_CHECKING:
    from tests.site import Site


def lacking(*requires: str) -> list[str]:
    return [str(m) for m in missing(Distribution("mine", "1", "", requires=requires))]


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        ("lib", True),
        ("LIB>=2.13", True),
        ("lib==2.13.0", True),  # the local part of 2.13.0+cpu does not count
        ("lib>=2.14", False),
        ("lib!=2.13.0", False),
        ("lib>=2,<2.13", False),
        ("lib @ https://example.invalid/lib.whl", True),
    ],
)
def test_versions(site: Site, requirement: str, met: bool) -> None:
    site.install("Lib", version="2.13.0+cpu")
    assert (lacking(requirement) == []) is met


def test_an_installed_prerelease_counts(site: Site) -> None:
    site.install("lib", version="3.0.0.dev4")
    assert lacking("lib>=2") == []
    assert lacking("lib>=3") == ["lib>=3 (version 3.0.0.dev4 is installed)"]


def test_markers_are_evaluated() -> None:
    here = f'absent-a; python_version >= "{sys.version_info.major}"'
    elsewhere = 'absent-b; python_version < "3"'
    optional = 'absent-c; extra == "gpu"'
    assert lacking(here, elsewhere, optional) == ["absent-a (is not installed)"]


def test_extras_of_a_requirement_are_looked_into(site: Site) -> None:
    requires = ['absent-d>=2; extra == "fast"', 'absent-e; extra == "slow"', "absent-f"]
    site.install("lib", requires=requires)
    assert lacking("lib") == []  # its own requirements are not ours to judge
    assert lacking("lib[fast]>=1") == ["absent-d>=2 (is not installed, needed by lib[fast]>=1)"]


def test_a_version_that_cannot_be_compared(site: Site) -> None:
    site.install("lib", version="main-branch")
    assert lacking("lib") == []
    assert lacking("lib>=1") == ["lib>=1 (version main-branch is installed)"]


def test_core_is_judged_apart() -> None:
    mine = Distribution(
        "mine", "1", "", requires=("aligntune>=9", "aligntune<2,>=1", 'aligntune==0; extra == "old"')
    )
    assert missing(mine) == []
    assert core_mismatch(mine) == ">=9"


def test_a_prerelease_of_core_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aligntune_core.backends.requirements.__version__", "1.1.0.dev1")
    assert core_mismatch(Distribution("mine", "1", "", requires=("aligntune>=1,<2",))) is None
    assert core_mismatch(Distribution("mine", "1", "", requires=("aligntune>=1.1",))) == ">=1.1"


def test_our_version_is_the_distributions() -> None:
    """``__version__`` says what pyproject says, so that what plugins are judged by is what pip sees."""
    root = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(root.read_text())["project"]["version"] == __version__


TRL = "From a clone of aligntune: pip install -e . -e plugins/aligntune-trl"


def test_requirements_of_a_required_plugin_count(site: Site) -> None:
    site.install("lib", version="1.0")
    site.install("other", requires=["lib>=4", "absent-h; extra == 'fast'"])  # no plugin
    site.install("aligntune-things", requires=["lib>=3", "other"])  # one by its name
    site.backend("base", requires=["lib>=2", "Aligntune_Things", "other[fast]"])
    needs = ["fake-base", "aligntune-things", "lib<2"]
    site.backend("upper", "raise AssertionError('imported')", requires=needs)
    row = Registry().row("upper")
    assert (row.state, row.missing) == (
        "missing",
        (
            "lib>=2 (version 1.0 is installed, needed by fake-base 1.0)",
            "absent-h (is not installed, needed by other[fast])",
            "lib>=3 (version 1.0 is installed, needed by aligntune-things 1.0)",
        ),
    )


@pytest.mark.parametrize("requirement", ["other", "aligntune", "fake-base; extra == 'fast'"])
def test_requirements_of_others_do_not_count(site: Site, requirement: str) -> None:
    site.install("other", requires=["absent-g"])
    site.install("aligntune", requires=["absent-g"])
    site.backend("base", requires=["absent-g"])
    site.backend("upper", requires=[requirement])
    assert Registry().row("upper").state == "ready"


def test_a_required_plugin_of_the_wrong_version_is_all_that_is_told(site: Site) -> None:
    site.backend("base", requires=["absent-g", "aligntune<1"])
    site.backend("upper", requires=["fake-base>=2"])
    assert Registry().row("upper").missing == ("fake-base>=2 (version 1.0 is installed)",)


def test_plugins_that_require_each_other(site: Site) -> None:
    site.backend("base", requires=["fake-upper", "absent-g>=2"])
    site.backend("upper", requires=["fake-base", "absent-g>=2"])
    row = Registry().row("upper")
    assert row.missing == (
        "absent-g>=2 (is not installed)",
        "absent-g>=2 (is not installed, needed by fake-base 1.0)",
    )
    assert row.hint == 'pip install "absent-g>=2"'


@pytest.mark.parametrize(
    ("requirement", "state", "reason"),
    [
        ("aligntune<1", "incompatible", "fake-base 1.0 was built for aligntune <1"),
        ("no (requirement", "broken", "fake-base 1.0 has a requirement that cannot be read"),
    ],
)
def test_a_required_plugin_that_cannot_be_used_is_named(
    site: Site, requirement: str, state: str, reason: str
) -> None:
    site.backend("base", requires=[requirement])
    site.backend("upper", "raise AssertionError('imported')", requires=["fake-base"])
    row = Registry().row("upper")
    assert row.state == state
    assert row.reason.startswith(reason)


def test_our_own_distributions_are_installed_from_a_clone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(site.folder)])
    site.install("aligntune-torch", version="0.9")
    mine = Distribution(
        "mine", "1", "", requires=("Aligntune.TRL>=1", "aligntune-torch>=1", "aligntune-of-others>=1")
    )
    hints = [m.hint for m in missing(mine)]
    assert hints == [TRL, HINTS["torch"], 'pip install "aligntune-of-others>=1"']
    site.install("aligntune-trl", {"aligntune.backends": {"trl": "nowhere"}}, requires=["aligntune>=7"])
    row = Registry().row("trl")
    assert (row.state, row.hint) == ("incompatible", TRL)


def test_the_unsloth_backend_is_installed_with_the_one_it_builds_on() -> None:
    assert HINTS["unsloth"] == f"{TRL} -e plugins/aligntune-unsloth"


def test_what_is_installed_from_a_clone_is_what_the_clone_holds() -> None:
    """Each plugin of this repository with the ones that it requires, from their own metadata."""
    expected = {"aligntune": "From a clone of aligntune: pip install -e ."}
    for file in (Path(__file__).parents[2] / "plugins").glob("*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        names = [Requirement(line).name for line in project["dependencies"]]
        folders = [*(name for name in names if name.startswith("aligntune-")), file.parent.name]
        expected[project["name"]] = " -e plugins/".join([expected["aligntune"], *folders])
    assert expected == FROM_CLONE
