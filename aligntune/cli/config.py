"""``aligntune config``: what a configuration may hold."""

from __future__ import annotations

from typing import Annotated

import typer

from aligntune.cli.options import Verbose, make_app
from aligntune.cli.output import print_json

app = make_app(no_args_is_help=True)


@app.callback()
def config() -> None:
    """Describe the configuration."""


@app.command()
def schema(
    field: Annotated[
        str | None, typer.Option(help="One field only: a keyword, an alias or a path.", show_default=False)
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Print the JSON schema of the configuration."""
    from aligntune_core.config.schema.describe import schema as schema_of

    print_json(schema_of(field))
