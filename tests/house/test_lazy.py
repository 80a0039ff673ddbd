"""Packages that import their attributes at the first access: every public name is there, and no import is early."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = (
    "aligntune",
    "aligntune_core",
    "aligntune_core.config",
    "aligntune_core.data",
    "aligntune_core.rewards",
    "aligntune_core.testing",
    "aligntune_core.toolkit",
)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there_and_listed(name: str) -> None:
    package = importlib.import_module(name)
    missing = [attribute for attribute in package.__all__ if not hasattr(package, attribute)]
    assert not missing
    assert set(package.__all__) <= set(dir(package))


def test_an_unknown_name_is_an_attribute_error() -> None:
    package = importlib.import_module("aligntune_core.toolkit")
    with pytest.raises(AttributeError, match=r"'aligntune_core.toolkit' has no attribute 'nothing'"):
        _ = package.nothing


def test_an_attribute_may_have_another_name_in_its_module(tmp_path: Path) -> None:
    (tmp_path / "lazy_package.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from aligntune_core._lazy import lazy\n"
        "if TYPE_CHECKING:\n"
        "    from heavy_module import load as load_it\n"
        "__getattr__, __dir__ = lazy(__name__)\n"
    )
    (tmp_path / "heavy_module.py").write_text("def load(): return 'loaded'\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import lazy_package\n"
        "assert 'heavy_module' not in sys.modules\n"
        "print(lazy_package.load_it(), 'load_it' in vars(lazy_package))\n"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["loaded", "True"]
