"""The same job on several backends, each in a process of its own, measured the same way."""

from __future__ import annotations

import importlib.util
import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aligntune_core.config import Config

logger = logging.getLogger("aligntune")

FOLDER = "compare"
PLOT = "losses.png"
SUMMARY = "compare.json"

# The backend's own folder: different by design.
_OWN = frozenset({"run.output_dir"})


@dataclass(frozen=True)
class Measured:
    """One backend's run.

    Attributes:
        name: the backend.
        tokens_per_second: tokens of all steps after the first by their time; None where the algorithm counts none.
        step_ms: median milliseconds of an optimiser step, the first left out where there are more.
        peak_memory_bytes: of the device, on a CPU of the process.
        startup_s: seconds from the start of the process to the end of the first step: imports, weights, compilation.
        final_loss: loss of the last logged step.
        steps: optimiser steps taken.
        losses: (step, loss) of each logged step.
        effective: config path -> value in force.
        output_dir: its run folder.
        error: why there are no figures, or None.
        traceback: of that error, the worker's among it; None where there is none.
    """

    name: str
    tokens_per_second: float | None = None
    step_ms: float | None = None
    peak_memory_bytes: int | None = None
    startup_s: float | None = None
    final_loss: float | None = None
    steps: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    effective: Mapping[str, Any] = field(default_factory=dict)
    output_dir: str = ""
    error: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Attributes:
        backends: one a backend, in the order asked for.
        differences: config path -> backend -> value in force, where they are not the same; the folder left out.
        untold: backend -> config paths of which others say what is in force, and it does not.
        plot: the loss curves as PNG; None where matplotlib is not installed or nothing ran.
        folder: holds the runs, the plot and this summary as JSON.
    """

    backends: list[Measured]
    differences: dict[str, dict[str, Any]]
    untold: dict[str, list[str]]
    plot: str | None
    folder: str

    def as_dict(self) -> dict[str, Any]:
        """In types that JSON knows; of the values in force only those that differ."""
        rows = {m.name: {k: v for k, v in asdict(m).items() if k != "effective"} for m in self.backends}
        return {
            "backends": rows,
            "differences": self.differences,
            "untold": self.untold,
            "plot": self.plot,
            "folder": self.folder,
        }


def compare(config: Config, names: Sequence[str]) -> Comparison:
    """Run ``config`` on each backend; one that fails is told, the others still run.

    Every step is logged, whatever ``logging_steps`` says: the figures are taken from what is logged.

    Raises:
        BackendError: a backend that is named is not there. Nothing has run.
        KeyboardInterrupt: stopped by Ctrl-C.
    """
    from aligntune_core.config.defaults import default_output_dir
    from aligntune_core.registry import registry
    from aligntune_core.run import logs

    logs.show_by_default()
    options = {name: registry().get(name).info.options for name in names}
    folder = Path(config.run.output_dir or default_output_dir(config)) / FOLDER
    if config.run.logging_steps != 1:
        logger.info(
            "compare logs every step (logging_steps=1, not %d as the job has it): its figures are taken from them",
            config.run.logging_steps,
        )
    measured = [
        measure(config, name, folder / name, config.backend_options if options[name] else {})
        for name in names
    ]
    ran = [m for m in measured if m.error is None]
    plot = draw(ran, folder / PLOT) if ran else None
    return Comparison(measured, differences(ran), untold(ran), str(plot) if plot else None, str(folder))


def measure(config: Config, name: str, output_dir: Path, options: dict[str, Any]) -> Measured:
    """Run on one backend in a worker process."""
    from aligntune_core.factory import create_trainer
    from aligntune_core.isolation.client import RemoteTrainer

    # eval_steps was filled in with the configuration, and stays what the job made of it.
    run = config.run.model_copy(update={"output_dir": str(output_dir), "logging_steps": 1})
    changes = {"backend": name, "isolation": "process", "backend_options": options, "run": run}
    clock = _Clock()
    try:
        trainer = create_trainer(config.model_copy(update=changes))
        assert isinstance(trainer, RemoteTrainer)
        try:
            trainer.on_event = clock
            result = trainer.train()
        finally:
            trainer.close()  # its memory is wanted by the next backend
    except (Exception, SystemExit) as error:  # one backend's failure, of whatever kind, is a row of the table
        trace = "".join(traceback.format_exception(error))
        said = f"{type(error).__name__}: {error}"
        return Measured(name, output_dir=str(output_dir), error=said, traceback=trace)
    if result.stopped:
        raise KeyboardInterrupt(result.stopped)
    return Measured(
        name,
        tokens_per_second=clock.tokens_per_second(),
        step_ms=clock.step_ms(),
        peak_memory_bytes=_peak(output_dir),
        startup_s=clock.first_step(),
        final_loss=result.final_loss,
        steps=result.steps,
        losses=[(step, loss) for step, loss, *_ in clock.steps],
        effective=dict(trainer.effective),
        output_dir=str(output_dir),
    )


class _Clock:
    """Takes the events of a run as they arrive, and when."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.steps: list[tuple[int, float, float, float]] = []
        """Step, loss, tokens since the last, seconds since the beginning."""

    def __call__(self, event: Mapping[str, Any]) -> None:
        if "loss" in event:
            elapsed = time.perf_counter() - self._began
            self.steps.append(
                (int(event["step"]), float(event["loss"]), float(event.get("tokens", 0)), elapsed)
            )

    def first_step(self) -> float | None:
        return self.steps[0][3] if self.steps else None

    def step_ms(self) -> float | None:
        times = [
            (now[3] - before[3]) / (now[0] - before[0])
            for before, now in zip(self.steps, self.steps[1:], strict=False)
        ]
        return 1000 * median(times) if times else None

    def tokens_per_second(self) -> float | None:
        tokens = sum(tokens for _, _, tokens, _ in self.steps[1:])
        return tokens / (self.steps[-1][3] - self.steps[0][3]) if tokens else None


def _peak(output_dir: Path) -> int | None:
    from aligntune_core.run import manifest

    found = (manifest.read(output_dir) or {}).get("peak_memory_bytes") or {}
    return found.get("device") or found.get("host")


def differences(measured: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """Config path -> backend -> value in force, where those that tell it do not agree."""
    from aligntune_core.checks import same

    found = {}
    for path in _told(measured):
        values = {m.name: m.effective[path] for m in measured if path in m.effective}
        first, *others = values.values()
        if any(not same(path, first, other) for other in others):
            found[path] = values
    return found


def untold(measured: Sequence[Measured]) -> dict[str, list[str]]:
    """Backend -> config paths that another tells and it does not; only backends that lack some."""
    lacking = {m.name: [path for path in _told(measured) if path not in m.effective] for m in measured}
    return {name: paths for name, paths in lacking.items() if paths}


def _told(measured: Sequence[Measured]) -> list[str]:
    return sorted({path for m in measured for path in m.effective} - _OWN)


def draw(measured: Sequence[Measured], path: Path) -> Path | None:
    """Write the loss curves, one over the other; None where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    # Not pyplot: it would look for a screen and keep the figure for good.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.0), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, m in enumerate(measured):
        # Curves that agree lie on top of each other: thinner and dashed above keeps all of them in sight.
        style: dict[str, Any] = {"linewidth": 3.5 - number, "linestyle": "-" if number == 0 else "--"}
        axes.plot([s for s, _ in m.losses], [x for _, x in m.losses], label=m.name, **style)
    axes.set(xlabel="step", ylabel="loss", title="training loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    return path
