"""Options that several commands share, and the function that makes a command's app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aligntune.cli.output import stdout_is_jsons


def make_app(**settings: Any) -> typer.Typer:
    """A typer app with plain help: rich's would double the time that ``--help`` takes."""
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings
    )


JSON = "aligntune.json"
VERBOSE = "aligntune.verbose"


def _remember_json(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[JSON] = value  # shared with the root context, which reports errors
    if value:
        ctx.with_resource(stdout_is_jsons())
    return value


def _remember_verbose(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[VERBOSE] = value
    return value


Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.", callback=_remember_json)]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        "--debug",
        help="Say more: details of what is listed, and the traceback of an error.",
        callback=_remember_verbose,
    ),
]
ConfigFile = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or the aligntune.json of an earlier run.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Override what the file says: learning_rate=1e-4 optim.batch_size=2.",
        show_default=False,
    ),
]
