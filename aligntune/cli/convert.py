"""``aligntune convert``: the configuration of another tool as one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aligntune.cli.failures import ExitCode
from aligntune.cli.options import Json, Overrides, Verbose, make_app
from aligntune.cli.output import print_json

if TYPE_CHECKING:
    from aligntune.conversion.convert import Conversion

app = make_app()


@app.command()
def convert(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG",
            help="YAML of LLaMA-Factory or Axolotl, or TRL's arguments as JSON.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="TOOL", help="llamafactory, axolotl, trl, or auto: told by its keys."),
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write it there, not to stdout.", show_default=False
        ),
    ] = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Turn a configuration of another tool into one of ours.

    Every line that has no counterpart is listed, with what to do, and stands as a comment in the YAML. Exit code 4 says
    that there were some.
    """
    from aligntune.conversion.convert import convert as converted
    from aligntune_core.errors import ConfigError

    if output is not None and output.resolve() == config.resolve():
        raise ConfigError(f"{output} is the file to convert: write to another")
    conversion = converted(config, source, overrides)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(conversion.text, encoding="utf-8")
    if json:
        print_json(_described(conversion, output))
    else:
        if output is None:
            typer.echo(conversion.text, nl=False)
        _print(conversion, output)
    if conversion.left_out:
        raise typer.Exit(ExitCode.PARTLY)


def _described(conversion: Conversion, output: Path | None) -> dict[str, object]:
    """The conversion in types that JSON knows."""
    lists = {"left_out": conversion.left_out, "remarks": conversion.remarks}
    return {
        "from": conversion.peer,
        "config": dict(conversion.config),
        **{
            name: [
                {"line": line.number, "key": line.key, "value": line.value, "why": line.why} for line in lines
            ]
            for name, lines in lists.items()
        },
        "fill_in": list(conversion.missing),
        "file": None if output is None else str(output),
    }


def _print(conversion: Conversion, output: Path | None) -> None:
    """Say what is left out, on stderr where stdout has the YAML."""
    aside = output is None
    if output is not None:
        typer.echo(f"{output}: {len(conversion.config)} settings from {conversion.peer}")
    for title, lines in (("left out", conversion.left_out), ("to look at", conversion.remarks)):
        for line in lines:
            typer.secho(f"{title}: ", fg="yellow", nl=False, err=aside)
            typer.echo(str(line), err=aside)
    if conversion.missing:
        typer.echo(f"fill in: {', '.join(conversion.missing)} (the file does not say them)", err=aside)
