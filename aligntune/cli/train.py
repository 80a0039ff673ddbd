"""``aligntune train``: run what a configuration file says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aligntune.cli.failures import SIGNALS, ExitCode
from aligntune.cli.options import ConfigFile, Json, Overrides, Verbose, make_app
from aligntune.cli.output import print_json, print_table

if TYPE_CHECKING:
    from aligntune_core.pipeline.trainer import Trainer
    from aligntune_core.types import TrainResult

app = make_app()


@app.command()
def train(
    config: ConfigFile,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last complete checkpoint of the run folder.")
    ] = False,
    resume_from: Annotated[
        Path | None, typer.Option(help="Go on from this checkpoint folder.", show_default=False)
    ] = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Train as a YAML file says.

    KEY=VALUE overrides the file: keywords of the Python calls (learning_rate=1e-4) or paths of the configuration tree
    (optim.learning_rate=1e-4). The aligntune.json of an earlier run, in place of a YAML file, repeats that run.
    Ctrl-C saves a checkpoint and stops.
    """
    from aligntune_core.config import load_config
    from aligntune_core.config.resolve.defaults import output_dir
    from aligntune_core.create import create_trainer
    from aligntune_core.run import checkpoints

    loaded = load_config(config, overrides=overrides or ())
    # Looked for here too, since weights need not be loaded to find that there is none.
    checkpoints.find(Path(output_dir(loaded)), resume_from or resume)
    trainer = create_trainer(loaded)
    result = trainer.train(resume=resume_from or resume)
    if json:
        print_json({**result, "output_dir": str(trainer.output_dir), "backend": trainer.backend})
    else:
        _print(trainer, result)
    if result.stopped:
        raise typer.Exit(SIGNALS.get(result.stopped, ExitCode.OK))


def _print(trainer: Trainer, result: TrainResult) -> None:
    figures = {
        "steps": result.steps,
        "training loss": _number(result["train_loss"]),
        "last loss": _number(result.final_loss),
        "time": f"{result.training_time:.1f} s",
        "model": result.model_path,
        "run": str(trainer.output_dir),
    }
    print_table(
        (trainer.config.algorithm, trainer.backend), [(k, str(v)) for k, v in figures.items() if v != ""]
    )
    if result.stopped:
        typer.echo(f"Stopped by {result.stopped}; the same command with --resume goes on.")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
