"""``aligntune plan``: everything that is known of a run before weights load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aligntune.cli.options import ConfigFile, Debug, Json, Overrides, make_app
from aligntune.cli.output import console, print_json, print_table

if TYPE_CHECKING:
    from aligntune_core.pipeline.plan import Plan

app = make_app()

BAD_ROWS_SHOWN = 10


@app.command()
def plan(config: ConfigFile, overrides: Overrides = None, debug: Debug = False, json: Json = False) -> None:
    """Show what a run would do, without loading weights.

    The resolved configuration with where each value came from, the backend and why, rows and bad rows, the number of
    steps, the first row as the model will see it, and what will be written where.
    """
    from aligntune_core.config import load_config
    from aligntune_core.pipeline import plan as factory

    summary = describe(factory.plan(load_config(config, overrides=overrides or ())))
    if json:
        print_json(summary)
    else:
        _print(summary)


def describe(plan: Plan) -> dict[str, Any]:
    """The plan in types that JSON knows."""
    from aligntune_core.config import paths, plain
    from aligntune_core.pipeline.announce import first_row
    from aligntune_core.run.topology import world_size

    config, data, optim = plan.config, plan.datasets, plan.config.optim
    sequences = first_row(plan)
    values = plain(config)
    return {
        "algorithm": config.algorithm,
        "backend": {
            "name": plan.backend.name,
            "reason": plan.reason,
            "distribution": str(plan.backend.distribution),
            "versions": dict(plan.prepared.versions),
        },
        "device": vars(plan.prepared.device),
        "config": values,
        "sources": {
            path: config.sources.get(path, "default") for path in paths(config) if _at(values, path)[0]
        },
        "data": data.report.as_dict() if data.report else {},
        "steps": {
            "max_steps": optim.max_steps,
            "epochs": optim.num_epochs,
            "rows": None if config.data.streaming else len(data.train),
            "global_batch": optim.batch_size * optim.gradient_accumulation_steps,
            "warmup_steps": optim.warmup_steps,
            "processes": world_size(),
        },
        "first_row": {
            name: [{"text": text, "loss": loss} for text, loss in pieces]
            for name, pieces in sequences.items()
        },
        "writes": _writes(plan),
    }


def _at(tree: dict[str, Any], path: str) -> tuple[bool, Any]:
    """Whether ``path`` is in the written configuration (secrets are not), and its value."""
    value: Any = tree
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def _writes(plan: Plan) -> list[dict[str, str]]:
    """List what the run will write, and say what becomes of an earlier run in its folder."""
    from pathlib import Path

    from aligntune_core.config.resolve.defaults import output_dir
    from aligntune_core.run.checkpoints import checkpoints
    from aligntune_core.run.folder import CHECKPOINT, EARLIER, LOG, MANIFEST, MERGED_BASE, METRICS, OF_THE_RUN

    config, run = plan.config, plan.config.run
    folder = Path(output_dir(config))
    limit = f", the last {run.save_total_limit} are kept" if run.save_total_limit else ""
    alone = ", without the optimiser: not to be resumed from" if run.save_only_model else ""
    share = f"after each {run.save_steps:.3g} of all steps"  # of packed rows, which the library counts
    when = {
        "no": "",
        "steps": f"every {run.save_steps} steps" if run.save_steps >= 1 else share,
        "epoch": "after each epoch",
        "best": "whenever it is best",
    }
    entries = [
        (".", f"{'adapter' if config.peft.enabled else 'model'} and tokenizer"),
        (MANIFEST, OF_THE_RUN[MANIFEST]),
        (METRICS, f"a line every {run.logging_steps} step(s)"),
        (LOG, OF_THE_RUN[LOG]),
    ]
    if when[run.save_strategy]:
        entries.append((f"{CHECKPOINT}N", when[run.save_strategy] + limit + alone))
    if config.peft.merge_adapter:
        entries.append((MERGED_BASE, OF_THE_RUN[MERGED_BASE]))
    if (folder / METRICS).is_file() or checkpoints(folder):
        entries.append(
            (f"{EARLIER}/N", "the run that lies there now is moved here, unless this one resumes it")
        )
    return [{"path": str(folder / name), "what": what} for name, what in entries]


def _print(summary: dict[str, Any]) -> None:
    from rich.text import Text

    out = console()
    backend, device, steps = summary["backend"], summary["device"], summary["steps"]
    print_table(
        ("configuration", "value", "from"),
        [
            (
                path,
                _short(_at(summary["config"], path)[1]),
                (source, "dim" if source.startswith("default") else ""),
            )
            for path, source in summary["sources"].items()
        ],
    )
    lines = {
        "backend": f"{backend['name']} ({backend['distribution']}): {backend['reason']}",
        "versions": ", ".join(f"{name} {version}" for name, version in backend["versions"].items()),
        "device": f"{device['kind']} {device['name']}".strip() + f" x {device['count']}",
        "steps": _steps(steps),
    }
    for label, line in lines.items():
        out.print(Text.assemble((f"{label}: ", "bold"), line), soft_wrap=True)
    _print_data(summary["data"])
    for name, pieces in summary["first_row"].items():
        _print_row("first row" if name == "row" else f"first row, {name}", pieces)
    print_table(("will be written", ""), [(entry["path"], entry["what"]) for entry in summary["writes"]])


def _steps(steps: dict[str, Any]) -> str:
    if steps["max_steps"] is None:
        return f"{steps['epochs']:g} epoch(s) of packed rows; the library counts the steps"
    rows = "a stream of rows" if steps["rows"] is None else f"{steps['rows']} rows"
    return f"{steps['max_steps']} ({rows}, {steps['global_batch']} a step, {steps['warmup_steps'] or 0} of warm-up)"


def _print_data(report: dict[str, Any]) -> None:
    from rich.text import Text

    if not report:
        return
    out = console()
    total, dropped = report["rows_given"], report["rows_dropped"]
    counted = "counted as they stream" if total is None else f"{total} given, {dropped} bad"
    out.print(
        Text.assemble(("rows: ", "bold"), f"{counted}; {report['source']}, format {report['format']}"),
        soft_wrap=True,
    )
    for sentence in [*report["saw"], report["template"]]:
        if sentence:
            out.print(Text(f"  {sentence}"), soft_wrap=True)
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
    out.print(
        Text.assemble(
            (f"{title} ", "bold"), f"(loss on {'the green part' if colour else 'what is in [[ ]]'}):"
        )
    )
    row = Text()
    for piece in pieces:
        text = piece["text"] if colour or not piece["loss"] else f"[[{piece['text']}]]"
        row.append(text, style="green" if piece["loss"] else "dim")
    out.print(row, soft_wrap=True)


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
