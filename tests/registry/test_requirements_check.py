"""Direct requirements against what is installed: versions, markers, extras, odd versions."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aligntune_core.entrypoints import Distribution
from aligntune_core.requirements import core_mismatch, missing
from aligntune_core.version import __version__

if TYPE_CHECKING:
    from aligntune_core.testing.site import Site


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
    monkeypatch.setattr("aligntune_core.requirements.__version__", "1.1.0.dev1")
    assert core_mismatch(Distribution("mine", "1", "", requires=("aligntune>=1,<2",))) is None
    assert core_mismatch(Distribution("mine", "1", "", requires=("aligntune>=1.1",))) == ">=1.1"


def test_our_version_is_the_distributions() -> None:
    """``__version__`` says what pyproject says, so that what plugins are judged by is what pip sees."""
    root = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(root.read_text())["project"]["version"] == __version__
