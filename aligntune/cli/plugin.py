"""``aligntune plugin``: start a backend of your own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from aligntune.cli.options import Verbose, make_app

app = make_app(no_args_is_help=True)


class Example(StrEnum):
    """Examples that a new package may start from."""

    SFT = "sft"


@app.callback()
def plugin() -> None:
    """Start a backend plugin of your own."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The backend's name, as users will write it: backend=NAME.")],
    with_example: Annotated[
        Example | None,
        typer.Option(help="Begin with a backend that trains, in plain PyTorch.", show_default=False),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Write a complete package, aligntune-NAME, below the current directory.

    It installs and passes the static tier of the conformance kit at once; what is left to write raises with an
    instruction.
    """
    from aligntune.scaffold import write

    folder = write(name, with_example.value if with_example else "empty")
    typer.echo(f"{folder} is written. Next:")
    typer.echo(f"  pip install -e {folder.name}")
    typer.echo(f"  cd {folder.name} && pytest")
    typer.echo("docs/plugins/write-a-backend.md goes on from there.")
