"""``aligntune compare``: the same job on several backends, in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aligntune.cli.failures import SIGNALS, ExitCode
from aligntune.cli.options import ConfigFile, Json, Overrides, Verbose, make_app
from aligntune.cli.output import print_json, print_table

if TYPE_CHECKING:
    from aligntune.comparison import BackendRun, Comparison
    from aligntune_core.backends.listing import BackendRow

app = make_app()


@app.command()
def compare(
    config: ConfigFile,
    overrides: Overrides = None,
    backends: Annotated[
        str, typer.Option(help="The backends, with commas between: trl,unsloth.", show_default=False)
    ] = "",
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Run the same job on several backends and compare.

    Each runs in a process of its own, one after the other; by default all that are ready and train the algorithm.
    Shows speed, memory, start-up and final loss of each, what was in force differently (nothing, or named), and draws
    the loss curves. Runs, curves and figures are kept in compare/ below the run folder. backend_options of the file go
    to the backends that have options. Every step is logged, whatever logging_steps says.

    Where one cannot run the job, none starts. Exit code 1 where one failed.
    """
    from aligntune import comparison
    from aligntune_core.config import load_config

    loaded = load_config(config, overrides=overrides or ())
    result = comparison.compare(loaded, _names(backends, loaded.algorithm))
    if json:
        print_json(result.as_dict())
    else:
        _print(result, verbose)
    if stopped := result.backends[-1].stopped:
        raise typer.Exit(SIGNALS.get(stopped, ExitCode.FAILED))
    if any(m.error for m in result.backends):
        raise typer.Exit(ExitCode.FAILED)


def _names(option: str, algorithm: str) -> list[str]:
    from aligntune_core.backends.registry import registry
    from aligntune_core.errors import ConfigError
    from aligntune_core.wording import listed

    names = list(dict.fromkeys(name.strip() for name in option.split(",") if name.strip()))
    reasons = {row.name: _why_not(row, algorithm) for row in registry().rows()}
    if not option:
        names = [name for name, why in reasons.items() if not why]
    if len(names) < 2:
        installed = (f"{name} ({why})" if why else name for name, why in reasons.items())
        raise ConfigError(
            f"--backends: two or more are needed to compare, got {listed(names)}. Installed: {listed(installed)}"
        )
    return names


def _why_not(row: BackendRow, algorithm: str) -> str:
    if row.state != "ready":
        return row.reason
    return "" if row.algorithms[algorithm] else f"does not train {algorithm}"


def _print(result: Comparison, verbose: bool) -> None:
    columns = ("backend", "tokens/s", "ms/step", "peak memory", "first step after", "steps", "final loss")
    print_table(columns, [_row(m) for m in result.backends])
    for m in result.backends:
        if m.error:
            typer.secho(f"{m.name}: {m.error}", fg="red")
            if verbose and m.traceback:
                typer.echo(m.traceback, err=True)
    if result.differences:
        names = [m.name for m in result.backends if m.error is None]
        rows = [
            (path, *(str(values.get(name, "not told")) for name in names))
            for path, values in result.differences.items()
        ]
        print_table(("in force differently", *names), rows)
    elif sum(m.error is None for m in result.backends) > 1:
        typer.echo(
            f"In force: the same arguments on all{', as far as they are told' if result.untold else ''}."
        )
    for name, paths in result.untold.items():
        which = f": {', '.join(paths)}" if verbose else f" {len(paths)} of them; -v names them"
        typer.echo(f"{name} does not tell{which}")
    if result.loss_spread is not None:
        step, spread = result.loss_spread
        apart = f"at most {spread:.4g} apart, at step {step}" if spread else "the same at every step"
        typer.echo(f"Losses: {apart}.")
    if any(m.error is None for m in result.backends):
        typer.echo(
            f"Loss curves: {result.plot or 'not drawn, matplotlib is missing (pip install matplotlib)'}"
        )
    typer.echo(f"Runs and figures: {result.folder}")


def _row(m: BackendRun) -> tuple[str, ...]:
    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else form.format(value)

    memory = None if m.peak_memory_bytes is None else m.peak_memory_bytes / 2**30
    return (
        m.name,
        cell(m.tokens_per_second, "{:,.0f}"),
        cell(m.step_ms, "{:,.1f}"),
        cell(memory, "{:.2f} GiB"),
        cell(m.startup_s, "{:.1f} s"),
        str(m.steps),
        cell(m.final_loss, "{:.4f}"),
    )
