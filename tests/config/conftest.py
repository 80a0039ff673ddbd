"""Short ways to make configurations, and a distribution with algorithms of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aligntune_core import entrypoints
from aligntune_core.algorithms import catalogue
from aligntune_core.config import Config, resolve_config
from aligntune_core.errors import ConfigError

Make = Callable[..., Config]
Refused = Callable[..., list[str]]
REQUIRED = {"model_name": "org/model", "dataset_name": "org/rows"}


@pytest.fixture
def sft() -> Make:
    """Makes an SFT configuration; model and dataset are in it."""
    return lambda **keywords: resolve_config("sft", **{**REQUIRED, **keywords})


@pytest.fixture
def rl() -> Make:
    """Makes a configuration of the algorithm named; model and dataset are in it."""
    return lambda algorithm, **keywords: resolve_config("rl", algorithm=algorithm, **{**REQUIRED, **keywords})


@pytest.fixture
def refused() -> Refused:
    """Calls a function and returns the problems it is refused with; fails where it is not."""

    def call(make: Make, *arguments: Any, **keywords: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            make(*arguments, **keywords)
        return caught.value.problems

    return call


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a distribution whose module has the given source; each upper-case name in it is an entry point."""

    def install(source: str) -> None:
        module = f"algorithms_of_a_stranger_{tmp_path.name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / "stranger-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 2.0\n")
        names = [line.split(" = ")[0] for line in source.splitlines() if line[:1].isupper() and " = " in line]
        points = "".join(f"{name.lower()} = {module}:{name}\n" for name in names)
        (info / "entry_points.txt").write_text(f"[aligntune.algorithms]\n{points}")
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        entrypoints.refresh()

    yield install
    catalogue.refresh()
    entrypoints.refresh()
