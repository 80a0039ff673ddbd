"""What README.md promises at a glance: two commands, the matrix, the files it names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aligntune.cli.algorithms import matrix
from aligntune_core.algorithms.catalogue import own

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def promised(what: str) -> str:
    """What CI reads out of README."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/readme.py", what], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_quick_start_begins_with_exactly_two_commands() -> None:
    block = re.search(r"^## Quick start\n\n```bash\n(.*?)^```", README, re.M | re.S)
    assert block
    lines = block[1].splitlines()
    assert len(lines) == 2
    assert lines[0] == f"{promised('setup')} && {promised('main')}"
    assert lines[1] == promised("test")
    assert promised("main") == ".venv/bin/aligntune demo"


def test_the_files_that_the_commands_name_exist() -> None:
    for path in re.findall(r"(?:-e|-c) ([\w./-]+/[\w./-]+)", promised("setup")):
        assert (ROOT / path).exists()


def test_the_readme_imports_what_it_uses() -> None:
    assert promised("imports") == "from aligntune import create_rl_trainer, create_sft_trainer"


@pytest.mark.backend
def test_the_algorithm_matrix_is_what_the_installed_plugins_say() -> None:
    table = re.search(r"^\| algorithm \|.*?(?=\n\n)", README, re.M | re.S)
    assert table
    head, _, *lines = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in table[0].splitlines()
    ]
    names = {algorithm.name for algorithm in own()}
    found = [row for row in matrix() if row["name"] in names]
    ours = {path.name.removeprefix("aligntune-") for path in ROOT.glob("plugins/*")}
    installed = sorted(ours & set(found[0]["backends"]))
    assert set(installed) <= set(head[2:]), "a backend of this repository lacks its column"
    wanted = [
        [row["title"], row["name"], *("yes" if row["backends"][n]["ok"] else "no" for n in installed)]
        for row in found
    ]
    columns = [0, 1, *(head.index(name) for name in installed)]
    assert [[line[column] for column in columns] for line in lines] == wanted
