"""What the tests of the Unsloth plugin share: skipped where unsloth is not installed, or has no CPU path."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
Run = Callable[[dict[str, Any]], dict[str, Any]]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Nothing to collect without the plugin: its modules could not even be imported."""
    return True if find_spec("aligntune_unsloth") is None else None


@pytest.fixture(scope="session")
def unsloth_on_cpu() -> None:
    """Skip where unsloth cannot run on this machine's CPU."""
    from aligntune_unsloth.device import has_cpu_path

    if not has_cpu_path():
        pytest.skip("unsloth is not installed, or has no CPU path")


@pytest.fixture(scope="session")
def driver() -> dict[str, Any]:
    """The functions of ``driver.py``."""
    return runpy.run_path(str(HERE / "driver.py"))


def run_jobs(jobs: dict[str, Any], folder: Path, timeout: float = 280) -> dict[str, Any]:
    """Run jobs of ``driver.py`` in one new process; what it printed and left behind is told too."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, str(HERE / "driver.py"), "jobs.json", "out.json"],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
        env={**os.environ, "ALIGNTUNE_UNSLOTH_ALLOW_CPU": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads((folder / "out.json").read_text())
    found["stdout"] = done.stdout
    found["left"] = sorted(path.name for path in folder.iterdir())
    return found


@pytest.fixture(scope="session")
def in_a_process() -> Callable[..., dict[str, Any]]:
    """``run_jobs``."""
    return run_jobs


@pytest.fixture(scope="session")
def on_unsloth(unsloth_on_cpu: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``on_unsloth(jobs)``: run jobs of ``driver.py`` in one process that imports unsloth."""
    return lambda jobs: run_jobs(jobs, tmp_path_factory.mktemp("unsloth-jobs"))
