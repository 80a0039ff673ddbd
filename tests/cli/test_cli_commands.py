"""The command as a whole: its listing, its manners, and how little it imports."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import Result

from aligntune.cli.app import COMMANDS
from aligntune_core.testing.blocker import run_blocked
from aligntune_core.version import __version__

Command = Callable[..., Result]
ROOT = Path(__file__).parents[2]


def test_help_lists_every_command_with_its_line(command: Command) -> None:
    result = command("--help")
    assert result.exit_code == 0
    for name, line in COMMANDS.items():
        assert re.search(rf"\b{name}\b", result.stdout)
        assert line.split()[0] in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_module_and_says_in_its_own_help_what_the_listing_says(
    name: str, command: Command
) -> None:
    assert isinstance(importlib.import_module(f"aligntune.cli.{name}").app, typer.Typer)
    result = command(name, "--help")
    assert result.exit_code == 0
    own = " ".join(result.stdout.split())
    assert COMMANDS[name].rstrip(".") in own


def test_version(command: Command) -> None:
    assert command("--version").stdout.strip() == __version__


def test_unknown_commands_and_options_are_told_the_nearest(command: Command) -> None:
    typo = command("trian")
    assert typo.exit_code == 2
    assert "Did you mean 'train'?" in typo.output
    option = command("backends", "--jsn")
    assert option.exit_code == 2
    assert "--json" in option.output


def test_no_words_at_all_print_the_help(command: Command) -> None:
    assert "Commands" in command().output


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["backends"],
        ["backends", "-v"],
        ["backends", "--json"],
        ["algorithms"],
        ["config", "schema", "--field", "learning_rate"],
    ],
    ids=" ".join,
)
def test_help_and_listings_import_no_heavy_library(words: list[str]) -> None:
    code = f"import sys; sys.argv = ['aligntune', *{words!r}]; from aligntune.cli import main; main()"
    done = run_blocked(code)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    "code",
    [
        "import aligntune; dir(aligntune); aligntune.BackendType.TRL; aligntune.__version__",
        "from aligntune import create_sft_trainer, create_rl_trainer, create_trainer, resolve_config, Trainer",
        "import aligntune.core.backend_factory",
        "from aligntune_core import create_sft_trainer, Config, hookimpl",
    ],
)
def test_importing_the_package_imports_no_heavy_library(code: str) -> None:
    done = run_blocked(code)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_blocker_would_name_a_culprit() -> None:
    done = run_blocked("import aligntune.cli.app, torch")
    assert done.returncode != 0
    assert "torch" in done.stderr.splitlines()[-1]


def test_the_users_names_are_the_same_objects_everywhere() -> None:
    import aligntune
    import aligntune_core
    from aligntune.core import backend_factory

    shared = ["BackendType", "RLAlgorithm", "TrainingType", "create_rl_trainer", "create_sft_trainer"]
    for name in [*shared, "create_trainer", "resolve_config"]:
        assert getattr(aligntune, name) is getattr(backend_factory, name) is getattr(aligntune_core, name)
    assert set(aligntune.__all__) <= set(dir(aligntune))
    assert {str(member) for member in aligntune.BackendType} == {"auto", "trl", "unsloth"}
    assert str(aligntune.RLAlgorithm.DR_GRPO) == f"{aligntune.RLAlgorithm.DR_GRPO}" == "dr_grpo"
    with pytest.raises(AttributeError, match="no_such_name"):
        aligntune.no_such_name  # noqa: B018


def test_every_rl_algorithm_of_the_enum_is_known() -> None:
    from aligntune import RLAlgorithm
    from aligntune_core.algorithms import find

    assert {find(member).kind for member in RLAlgorithm} == {"rl"}


def test_the_version_of_the_distribution_is_the_version_of_the_core() -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert declared == __version__


def _commands(typer_app: typer.Typer) -> list[Any]:
    """A command, or each of a group."""
    command: Any = typer.main.get_command(typer_app)
    return list(getattr(command, "commands", {}).values()) or [command]


@pytest.mark.parametrize("name", COMMANDS)
def test_v_means_one_thing_everywhere(name: str) -> None:
    for command in _commands(importlib.import_module(f"aligntune.cli.{name}").app):
        (option,) = (option for option in command.params if "-v" in option.opts)
        assert set(option.opts) == {"--verbose", "-v", "--debug"}, command.name
        assert option.help.startswith("Say more")
