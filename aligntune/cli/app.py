"""The root command: a group that knows its commands by name and one line, and imports only the one that runs."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from aligntune.cli import failures
from aligntune.cli.options import make_app
from aligntune_core.entrypoints import EntryPoint, entry_points
from aligntune_core.errors import BackendBroken
from aligntune_core.wording import one_line

# Command -> its line in the help. Module ``aligntune.cli.NAME`` holds the typer app called ``app``.
COMMANDS = {
    "demo": "Fine-tune a small chat model and show what it learned.",
    "train": "Train as a YAML file says.",
    "plan": "Show what a run would do, without loading weights.",
    "convert": "Turn a configuration of another tool into one of ours.",
    "compare": "Run the same job on several backends and compare.",
    "backends": "List installed backends and their state.",
    "algorithms": "Show which backend trains which algorithm.",
    "doctor": "Check versions, devices and each backend.",
    "config": "Describe the configuration.",
    "reward": "List rewards, or check them before training.",
    "plugin": "Start a backend plugin of your own.",
}


GROUP = "aligntune.commands"
"""Entry points of further commands: the command's name -> a typer app. Ours keep their names."""


def further() -> dict[str, EntryPoint]:
    """Name -> entry point of the commands that other installed distributions bring."""
    return {entry.name: entry for entry in entry_points(GROUP) if entry.name not in COMMANDS}


class LazyGroup(TyperGroup):
    """A group whose members are imported when they are run; until then a stand-in has their name and help line.

    typer's context and command classes come from click or from a copy inside typer, depending on its version, so the
    overridden signatures name neither.
    """

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        lines = {**COMMANDS, **{name: f"From {entry.distribution}." for name, entry in further().items()}}
        self.commands.update({name: TyperCommand(name, help=line) for name, line in lines.items()})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            command = typer.main.get_command(importlib.import_module(f"aligntune.cli.{name}").app)
        elif name in further():
            command = _loaded(further()[name])
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        with failures.reported(ctx):
            return super().invoke(ctx)


def _loaded(entry: EntryPoint) -> Any:
    """The command that an installed distribution brings.

    Raises:
        BackendBroken: it cannot be imported, or is no typer app; names the distribution.
    """
    try:
        return typer.main.get_command(entry.load())
    except (Exception, SystemExit) as error:  # a module of another distribution may raise anything
        raise BackendBroken(
            f'command "{entry.name}" of {entry.distribution} cannot be used: {one_line(error)}. Update it, or '
            f"pip uninstall {entry.distribution.name}."
        ) from error


app = make_app(
    cls=LazyGroup,
    name="aligntune",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(flag: bool) -> None:
    if flag:
        from aligntune import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Fine-tune and align language models with one configuration on interchangeable training backends."""
