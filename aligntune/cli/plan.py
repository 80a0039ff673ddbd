"""``aligntune plan``: everything that is known of a run before weights load."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from aligntune.cli.options import ConfigFile, Json, Overrides, Verbose, make_app
from aligntune.cli.output import console, print_json, print_table
from aligntune.forecast import at, describe

app = make_app()

BAD_ROWS_SHOWN = 10
# What most people look for first, whether they set it or not.
GOOD_TO_KNOW = (
    *("optim.learning_rate", "optim.batch_size", "data.max_seq_length", "model.precision"),
    *("peft.enabled", "peft.r", "run.seed"),
)


@app.command()
def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    all_settings: Annotated[
        bool, typer.Option("--all", help="Show every setting, those with their defaults too.")
    ] = False,
    rows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Show the first N rows as the model will see them.")
    ] = 1,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Show what a run would do, without loading weights.

    What you set, with where each value came from; the backend and why; rows and bad rows; steps, epochs and tokens;
    parameters, memory and time as far as they are known; the first row as the model will see it; and what will be
    written where.
    """
    from aligntune_core.config import load_config
    from aligntune_core.pipeline import plan as factory

    summary = describe(factory.plan(load_config(config, overrides=overrides or ())), rows)
    if json:
        print_json(summary)
    else:
        _print(summary, all_settings)


def _print(summary: dict[str, Any], all_settings: bool) -> None:
    backend, device = summary["backend"], summary["device"]
    _print_settings(summary, all_settings)
    lines = {
        "backend": f"{backend['name']} ({backend['distribution']}): {backend['reason']}",
        "versions": ", ".join(f"{name} {version}" for name, version in backend["versions"].items()),
        "device": f"{device['kind']} {device['name']}".strip() + f" x {device['count']}",
        "steps": _steps(summary["steps"]),
        "size": _size(summary["size"]),
        "memory": _memory(summary["size"], device),
        "time": _time(summary["time"]),
    }
    for label, line in lines.items():
        _print_line(label, line)
    _print_data(summary["data"])
    for number, row in enumerate(summary["rows"]):
        title = "first row" if number == 0 else f"row {number + 1}"
        for name, pieces in row.items():
            _print_row(title if name == "row" else f"{title}, {name}", pieces)
    print_table(("will be written", ""), [(entry["path"], entry["what"]) for entry in summary["writes"]])


def _print_settings(summary: dict[str, Any], all_settings: bool) -> None:
    """What the user set, and what is good to know; or everything."""
    from aligntune_core.config.values import not_chosen

    sources = summary["sources"]
    chosen = [path for path, source in sources.items() if not not_chosen(source)]
    adapter = at(summary["config"], "peft.enabled")[1]
    known = [
        path
        for path in GOOD_TO_KNOW
        if path in sources and path not in chosen and (adapter or path != "peft.r")
    ]
    shown = list(sources) if all_settings else [*chosen, *known]
    print_table(
        ("setting", "value", "from"),
        [
            (
                path,
                _short(at(summary["config"], path)[1]),
                (sources[path], "dim" if not_chosen(sources[path]) else ""),
            )
            for path in shown
        ],
    )
    if rest := len(sources) - len(shown):
        typer.secho(f"{rest} more have defaults or were worked out: aligntune plan --all\n", dim=True)


def _print_line(label: str, line: str) -> None:
    from rich.text import Text

    console().print(Text.assemble((f"{label}: ", "bold"), line), soft_wrap=True)


def _steps(steps: dict[str, Any]) -> str:
    length = "" if steps["epochs"] is None else f"{steps['epochs']:.4g} epoch(s)"
    if steps["max_steps"] is None:
        return f"{length} of packed rows; the library counts the steps"
    processes = f" over {steps['processes']} processes" if steps["processes"] > 1 else ""
    facts = [
        "a stream of rows" if steps["rows"] is None else f"{steps['rows']:,} rows",
        f"{steps['global_batch'] * steps['processes']} a step{processes}",
        f"{steps['warmup_steps'] or 0} of warm-up",
        *([f"about {steps['tokens']:,} tokens in all"] if steps["tokens"] else []),
    ]
    return f"{steps['max_steps']:,}{' = ' + length if length and steps['rows'] else ''} ({', '.join(facts)})"


def _size(size: dict[str, Any] | None) -> str:
    if size is None:
        return "not known before the code of the model's repository runs"
    share = size["trained"] / size["parameters"] if size["parameters"] else 0
    return f"{size['parameters']:,} parameters, {size['trained']:,} of them trained ({share:.2%})"


def _memory(size: dict[str, Any] | None, device: dict[str, Any]) -> str:
    if size is None:
        return "not known before the code of the model's repository runs"
    parts = "weights, gradients, optimiser" if size["optimizer_counted"] else "weights and gradients"
    there = f" of {_gigabytes(device['memory_bytes'])}" if device["memory_bytes"] else ""
    least = _gigabytes(size["memory_bytes"])
    return f"at least {least}{there} ({parts}); activations come on top, and are known after a first step"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _time(time: dict[str, Any] | None) -> str:
    from datetime import timedelta

    if time is None:
        return "not known before the first steps; train then says what is left"
    took = timedelta(seconds=max(1, round(time["seconds"])))
    return f"about {took}, at the {time['tokens_per_second']:,.0f} tokens/s of the run in {time['run']}"


def _print_data(report: dict[str, Any]) -> None:
    from rich.text import Text

    if not report:
        return
    out = console()
    total, dropped = report["rows_given"], report["rows_dropped"]
    counted = "counted as they stream" if total is None else f"{total} given, {dropped} bad"
    _print_line("rows", f"{counted}; {report['source']}, format {report['format']}")
    for sentence in [*report["saw"], report["template"]]:
        if sentence:
            style = "yellow" if sentence in report["warnings"] else ""
            out.print(Text(f"  {sentence}", style=style), soft_wrap=True)
    if report["max_tokens"]:
        out.print(
            Text(
                f"  {report['mean_tokens']:.0f} tokens a row, {report['max_tokens']} at most, "
                f"{report['truncated_rows']} row(s) cut"
            )
        )
    for bad in report["bad_rows"][:BAD_ROWS_SHOWN]:
        column = f'column "{bad["column"]}": ' if bad["column"] else ""
        out.print(
            Text(f"  left out: {bad['place']}: {column}{bad['reason']}", style="yellow"), soft_wrap=True
        )
    if report["eval"]:
        out.print(
            Text(f"  held out: {report['eval']['rows_given']} rows, {report['eval']['source']}"),
            soft_wrap=True,
        )


def _print_row(title: str, pieces: list[dict[str, Any]]) -> None:
    """Print a row, its part with loss in green or, where there is no colour, between double brackets."""
    from rich.text import Text

    out = console()
    colour = out.color_system is not None
    where = "the green part" if colour else "what is in [[ ]]"
    out.print(Text.assemble((f"{title} ", "bold"), f"(loss on {where}):"))
    row = Text()
    for piece in pieces:
        text = piece["text"] if colour or not piece["loss"] else f"[[{piece['text']}]]"
        row.append(text, style="green" if piece["loss"] else "dim")
    out.print(row, soft_wrap=True)


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
