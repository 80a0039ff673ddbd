"""The command in this process, and small files for it to work on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.site import Site

Command = Callable[..., Result]


@pytest.fixture
def command() -> Command:
    """Run ``aligntune WORD...`` in this process."""
    from aligntune.cli.app import app

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


@pytest.fixture
def sft_file(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A YAML file that trains the tiny model for two steps, in a current directory of its own."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {n + n}."} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings: dict[str, Any] = {
        "algorithm": "sft",
        "backend": "trl",
        "model_name": str(tiny_model_dir),
        "dataset_name": "rows.jsonl",
        "max_steps": 2,
        "batch_size": 2,
        "learning_rate": "1e-3",
        "output_dir": "run",
    }
    path = tmp_path / "sft.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    return path


@pytest.fixture
def broken_backend(site: Site) -> str:
    """An installed backend whose module cannot be imported; its name."""
    site.backend("acme", "import a_library_that_nobody_has\n", version="3.1")
    return "acme"
