"""``aligntune algorithms``: the matrix of algorithms and installed backends."""

from __future__ import annotations

from typing import Any

import typer

from aligntune.cli.options import Json, Verbose, make_app
from aligntune.cli.output import print_json, print_table

app = make_app()


@app.command()
def algorithms(verbose: Verbose = False, json: Json = False) -> None:
    """Show which backend trains which algorithm, as the installed plugins say."""
    entries = matrix()
    if json:
        print_json(entries)
        return
    names = sorted({name for row in entries for name in row["backends"]})
    print_table(
        ("algorithm", "name", "rows need", *names),
        [
            (
                row["name"],
                row["title"],
                ", ".join(row["columns"]),
                *("yes" if row["backends"][name]["ok"] else "no" for name in names),
            )
            for row in entries
        ],
    )
    if verbose:
        for row in entries:
            _print_details(row)


def _print_details(row: dict[str, Any]) -> None:
    typer.secho(f"\n{row['name']}", bold=True)
    typer.echo(f"  keywords of its own: {', '.join(row['parameters']) or 'none'}")
    typer.echo(f"  paper: {row['paper'] or 'none'}")
    for name, support in row["backends"].items():
        if not support["ok"]:
            typer.echo(f"  not on {name}: {support['reason'] or 'no reason given'}")


def matrix() -> list[dict[str, Any]]:
    """One row an algorithm: name, title, kind, columns, paper, parameters, and what each ready backend says."""
    from aligntune_core.algorithms import known
    from aligntune_core.backends.registry import registry
    from aligntune_core.config.keywords import parameters_of
    from aligntune_core.data.formats import canonical_columns

    rows = [row for row in registry().rows() if row.state == "ready"]
    return [
        {
            "name": name,
            "title": algorithm.title or name,
            "kind": algorithm.kind,
            "columns": list(canonical_columns(algorithm)),
            "paper": algorithm.paper,
            "parameters": sorted(parameters_of(algorithm.parameters)),
            "backends": {
                row.name: {"ok": row.algorithms[name].ok, "reason": row.algorithms[name].reason}
                for row in rows
            },
        }
        for name, algorithm in known().items()
    ]
