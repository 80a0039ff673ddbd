"""docs/reference/cli.md has every command, option and exit code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from aligntune.cli.app import COMMANDS
from aligntune.cli.failures import ExitCode

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text(encoding="utf-8")

EVERYWHERE = {"--help", "--verbose", "--debug"}


def section(name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"no section {name}"
    return found[1]


def commands() -> dict[str, Any]:
    """Command -> typer command; of a group, its members together."""
    return {n: typer.main.get_command(importlib.import_module(f"aligntune.cli.{n}").app) for n in COMMANDS}


def options(command: Any) -> set[str]:
    own = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    for member in getattr(command, "commands", {}).values():
        own |= options(member)
    return own - EVERYWHERE


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_section_with_its_options(name: str) -> None:
    text = section(f"aligntune {name}")
    if "--help` has its options" in text:
        return
    told = set(re.findall(r"`(--[\w-]+)", text))
    assert told == options(commands()[name])


def test_no_command_is_told_that_does_not_exist() -> None:
    assert set(re.findall(r"^## aligntune (\w+)", PAGE, re.M)) == set(COMMANDS)


def test_exit_codes() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.M)}
    assert told == {int(code) for code in ExitCode}
