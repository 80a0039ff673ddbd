"""``aligntune backends``: what is installed, and in what state. A broken plugin is a row, never a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from aligntune.cli.options import Json, Verbose, make_app
from aligntune.cli.output import STATE_COLOURS, print_json, print_table

if TYPE_CHECKING:
    from aligntune_core.backends.listing import BackendRow, EntryPointRow

app = make_app()


@app.command()
def backends(
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """List installed backends and their state.

    States: ready; missing (a requirement is); broken (it raised, or breaks the hook contract); incompatible (built for
    another aligntune); conflict (two distributions claim the name); disabled (by ALIGNTUNE_DISABLE_BACKENDS or
    ALIGNTUNE_BACKENDS).
    """
    from aligntune_core.backends.registry import HINTS, registry

    rows = registry().rows()
    if json:
        listed = [row.as_dict() for row in rows]
        others = [row.as_dict() for row in _others()] if verbose else []
        print_json({"backends": listed, "others": others} if verbose else listed)
        return
    if not rows:
        typer.echo(f"No backend is installed. {HINTS['trl']}")
        return
    _print(rows)
    if verbose:
        for row in rows:
            _print_details(row)
        for other in _others():
            _print_other(other)


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
    if any(row.state == "ready" for row in rows):
        typer.echo(
            'backend=NAME in a configuration takes one; without it "auto" takes one that fits the run.'
        )
    if any(row.state not in ("ready", "disabled") for row in rows):
        typer.echo("More of what is not ready: aligntune backends -v, aligntune doctor.")


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


def _others() -> list[EntryPointRow]:
    """Extensions, algorithms and rewards that installed distributions bring."""
    from aligntune_core.backends.registry import registry

    return [row for row in registry().third_party() if row.group != "aligntune.backends"]


def _print_other(row: EntryPointRow) -> None:
    """One fact a line, none of them folded: group, name and path are what people search for."""
    typer.secho(f"\n{row.group} {row.name}: {row.state}", bold=True)
    facts = {
        "reason": row.reason,
        "distribution": f"{row.distribution} {row.version}",
        "path": row.path + (" (editable)" if row.editable else ""),
        "entry point": row.value,
    }
    for label, fact in facts.items():
        if fact:
            typer.echo(f"  {label}: {fact}")
