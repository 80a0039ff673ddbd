"""Commands that other installed distributions bring, through the entry-point group ``aligntune.commands``."""

from __future__ import annotations

from tests.cli.conftest import Command
from tests.site import Site

SOURCE = """
import typer

app = typer.Typer()

@app.command()
def main(name: str = "you"):
    "Greet somebody."
    typer.echo(f"hello {name}")
"""


def install(site: Site, source: str, *names: str) -> None:
    module = site.module(source)
    site.install(
        "fake-commands", {"aligntune.commands": dict.fromkeys(names, f"{module}:app")}, version="2.0"
    )


def test_a_further_command_is_listed_and_runs(command: Command, site: Site) -> None:
    install(site, SOURCE, "greet")
    assert "greet" in (listing := command("--help").output)
    assert "From fake-commands 2.0." in listing
    assert command("greet", "--name", "Ada").output == "hello Ada\n"
    assert "Greet somebody." in command("greet", "--help").output


def test_our_own_commands_keep_their_names(command: Command, site: Site) -> None:
    install(site, SOURCE, "plan", "greet")
    assert "fake-commands" not in command("plan", "--help").output
    assert command("greet").output == "hello you\n"


def test_a_broken_one_is_told_by_its_distribution_and_the_others_still_run(
    command: Command, site: Site
) -> None:
    install(site, "import a_library_that_nobody_has\n", "greet")
    failed = command("greet")
    assert failed.exit_code not in (0, 1)
    assert 'command "greet" of fake-commands 2.0 cannot be used: ModuleNotFoundError' in failed.output
    assert command("backends").exit_code == 0
