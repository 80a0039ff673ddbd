"""``aligntune backends``: what is installed, and in what state. A broken plugin is a row, never a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aligntune.cli.options import Json, make_app
from aligntune.cli.output import STATE_COLOURS, print_json, print_table

if TYPE_CHECKING:
    from aligntune_core.rows import BackendRow, FoundRow

app = make_app()


@app.command()
def backends(
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Also paths, requirements, tracebacks, and extensions, algorithms and rewards.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """List installed backends and their state.

    States: ready; missing (a requirement is); broken (it raised, or breaks the hook contract); incompatible (built for
    another aligntune); conflict (two distributions claim the name); disabled (by ALIGNTUNE_DISABLE_BACKENDS or
    ALIGNTUNE_BACKENDS).
    """
    from aligntune_core.registry import registry

    rows = registry().rows()
    if json:
        print_json([row.as_dict() for row in rows])
        return
    if not rows:
        typer.echo(
            "No backend is installed. From a clone of aligntune: pip install -e . -e plugins/aligntune-trl"
        )
        return
    _print(rows)
    if verbose:
        for row in rows:
            _print_details(row)
        _print_others(registry().third_party())


def _print(rows: list[BackendRow]) -> None:
    print_table(
        ("backend", "state", "version", "trains", "about"),
        [
            (
                row.name,
                (row.state, STATE_COLOURS.get(row.state, "")),
                row.version,
                " ".join(name for name, support in row.algorithms.items() if support.ok),
                row.summary if row.state == "ready" else row.reason,
            )
            for row in rows
        ],
    )
    for row in rows:
        if row.hint:
            typer.echo(f"{row.name}: {row.hint}")


def _print_details(row: BackendRow) -> None:
    typer.secho(f"\n{row.name}", bold=True)
    facts = {
        "distribution": ", ".join(row.distributions),
        "path": row.path + (" (editable)" if row.editable else ""),
        "devices": ", ".join(row.devices),
        "requires": ", ".join(row.requires),
        "missing": ", ".join(row.missing),
        "extensions": ", ".join(row.extensions),
        "does not train": "; ".join(
            f"{name} ({support.reason or 'no reason given'})"
            for name, support in row.algorithms.items()
            if not support.ok
        ),
    }
    for label, fact in facts.items():
        if fact:
            typer.echo(f"  {label}: {fact}")
    if row.traceback:
        typer.echo(row.traceback)


def _print_others(found: list[FoundRow]) -> None:
    """Extensions, algorithms and rewards that installed distributions bring."""
    others = [row for row in found if row.group != "aligntune.backends"]
    if not others:
        return
    print_table(
        ("also found", "group", "state", "from", "path"),
        [
            (
                row.name,
                row.group,
                row.state + (f": {row.reason}" if row.reason else ""),
                f"{row.distribution} {row.version}",
                row.path + (" (editable)" if row.editable else ""),
            )
            for row in others
        ],
    )
