"""The same job on several backends, each in a process of its own, measured the same way."""

from __future__ import annotations

import importlib.util
import json
import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from aligntune_core.config import Config

logger = logging.getLogger("aligntune")

# Paths that differ by design: each backend has a run folder of its own.
_OWN = frozenset({"run.output_dir"})


@dataclass(frozen=True)
class BackendRun:
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
        stopped: the signal that ended it early, or None.
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
    stopped: str | None = None
    error: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Comparison:
    """The result of ``compare``.

    Attributes:
        backends: one a backend, in the order asked for; where one was stopped, none after it.
        differences: config path -> backend -> value in force, where they are not the same; the folder left out.
        untold: backend -> config paths of which others say what is in force, and it does not.
        plot: the loss curves as PNG; None where matplotlib is not installed or nothing ran.
        folder: holds the runs, the plot and this summary as JSON.
    """

    backends: list[BackendRun]
    differences: dict[str, dict[str, Any]]
    untold: dict[str, list[str]]
    plot: str | None
    folder: str

    @property
    def loss_spread(self) -> tuple[int, float] | None:
        """The step at which the losses of the backends lie furthest apart, and how far; None below two of them."""
        curves = [dict(run.losses) for run in self.backends if run.error is None and run.losses]
        steps = set.intersection(*(set(curve) for curve in curves)) if len(curves) > 1 else set()
        spreads = {
            step: max(c[step] for c in curves) - min(c[step] for c in curves) for step in sorted(steps)
        }
        return max(spreads.items(), key=lambda entry: entry[1], default=None)

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
    """Run ``config`` on each backend; one that fails is a row of the result, and the others still run.

    Every step is logged, whatever ``logging_steps`` says: the figures are taken from what is logged. Curves and summary
    are written after each. Ctrl-C and SIGTERM stop the one that runs, and those after it do not start.

    Raises:
        BackendError, ConfigError: a backend that is named is not there, or cannot run this. Nothing has run.
        ConfigError, DataError: all failed with this one error.
    """
    from aligntune_core.config.resolve.defaults import output_dir
    from aligntune_core.pipeline.choose import choose
    from aligntune_core.run import logs
    from aligntune_core.run.folder import COMPARISON, COMPARISON_PLOT, COMPARISON_SUMMARY

    logs.show_by_default()
    folder = Path(output_dir(config)) / COMPARISON
    jobs = [_job(config, name, folder) for name in names]
    for job in jobs:
        choose(job)
    if config.run.logging_steps != 1:
        logger.info(
            "compare logs every step (logging_steps=1, not %d as the job has it): its figures are taken from them",
            config.run.logging_steps,
        )
    for earlier in (COMPARISON_PLOT, COMPARISON_SUMMARY):
        (folder / earlier).unlink(missing_ok=True)
    comparison = Comparison([], {}, {}, None, str(folder))
    errors = []
    for job in jobs:
        try:
            run = measure(job)
        except (Exception, SystemExit) as error:
            # A failure of any kind is a row of the table, and the other backends still run.
            errors.append(error)
            run = _failed(job, error)
        comparison = _summarise([*comparison.backends, run], folder)
        if run.stopped:
            break
    if len(errors) == len(jobs):
        _raise_if_common(errors)
    return comparison


def _job(config: Config, name: str, folder: Path) -> Config:
    """The job as one backend gets it."""
    from aligntune_core.backends.registry import registry

    # eval_steps was filled in with the configuration, and stays what the job made of it. What is measured is not sent
    # to the hub, and certainly not once a backend.
    changes = {"output_dir": str(folder / name), "logging_steps": 1, "push_to_hub": False}
    run = config.run.model_copy(update=changes)
    options = config.backend_options if registry().get(name).info.options else {}
    return config.model_copy(update={"backend": name, "backend_options": options, "run": run})


def _summarise(runs: list[BackendRun], folder: Path) -> Comparison:
    """Compare the runs so far and write the summary now, as a later run may be stopped."""
    from aligntune_core.run.folder import COMPARISON_PLOT, COMPARISON_SUMMARY

    folder.mkdir(parents=True, exist_ok=True)
    ran = [m for m in runs if m.error is None]
    plot = draw(ran, folder / COMPARISON_PLOT) if ran else None
    comparison = Comparison(runs, differences(ran), untold(ran), str(plot) if plot else None, str(folder))
    (folder / COMPARISON_SUMMARY).write_text(
        json.dumps(comparison.as_dict(), indent=2, default=str), encoding="utf-8"
    )
    return comparison


def _raise_if_common(errors: Sequence[BaseException]) -> None:
    """Raise the error in configuration or data that all backends met: it is the job's."""
    from aligntune_core.errors import ConfigError, DataError

    if isinstance(errors[0], ConfigError | DataError) and len({(type(e), str(e)) for e in errors}) == 1:
        raise errors[0]


def measure(job: Config) -> BackendRun:
    """Run on one backend in a worker process.

    Raises:
        Whatever the run raises.
    """
    from aligntune_core.launch.client import RemoteTrainer

    clock = _Clock()
    trainer = RemoteTrainer(job, job.backend)
    try:
        trainer.on_event = clock
        result = trainer.train()
    finally:
        trainer.close()  # frees its memory for the next backend
    if result.stopped:
        message = f"stopped by {result.stopped} at step {result.steps}"
        folder = str(job.run.output_dir)
        return BackendRun(
            job.backend, steps=result.steps, output_dir=folder, stopped=result.stopped, error=message
        )
    return BackendRun(
        job.backend,
        tokens_per_second=clock.tokens_per_second(),
        step_ms=clock.step_ms(),
        peak_memory_bytes=_peak(trainer.output_dir),
        startup_s=clock.first_step(),
        final_loss=result.final_loss,
        steps=result.steps,
        losses=[(step.number, step.loss) for step in clock.steps],
        effective=dict(trainer.effective),
        output_dir=str(job.run.output_dir),
    )


def _failed(job: Config, error: BaseException) -> BackendRun:
    trace = "".join(traceback.format_exception(error))
    message = f"{type(error).__name__}: {error}"
    return BackendRun(job.backend, output_dir=str(job.run.output_dir), error=message, traceback=trace)


class _Step(NamedTuple):
    number: int
    loss: float
    tokens: float  # since the step before
    at: float  # seconds since the beginning


class _Clock:
    """Records the events of a run with the time at which each arrives."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.steps: list[_Step] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        if "loss" in event:
            at = time.perf_counter() - self._began
            self.steps.append(
                _Step(int(event["step"]), float(event["loss"]), float(event.get("tokens", 0)), at)
            )

    def first_step(self) -> float | None:
        return self.steps[0].at if self.steps else None

    def step_ms(self) -> float | None:
        times = [(now.at - last.at) / (now.number - last.number) for last, now in pairwise(self.steps)]
        return 1000 * median(times) if times else None

    def tokens_per_second(self) -> float | None:
        tokens = sum(step.tokens for step in self.steps[1:])
        return tokens / (self.steps[-1].at - self.steps[0].at) if tokens else None


def _peak(output_dir: Path) -> int | None:
    from aligntune_core.run import manifest

    record = manifest.read(output_dir)
    peaks = record.peak_memory_bytes if record is not None else {}
    return peaks.get("device") or peaks.get("host")


def differences(runs: Sequence[BackendRun]) -> dict[str, dict[str, Any]]:
    """Config path -> backend -> value in force, where the backends that report it do not agree."""
    from aligntune_core.config.table import same

    differing = {}
    for path in _paths_in_force(runs):
        values = {m.name: m.effective[path] for m in runs if path in m.effective}
        first, *others = values.values()
        if any(not same(path, first, other) for other in others):
            differing[path] = values
    return differing


def untold(runs: Sequence[BackendRun]) -> dict[str, list[str]]:
    """Backend -> config paths that another backend reports and it does not; only backends that lack some."""
    lacking = {m.name: [path for path in _paths_in_force(runs) if path not in m.effective] for m in runs}
    return {name: paths for name, paths in lacking.items() if paths}


def _paths_in_force(runs: Sequence[BackendRun]) -> list[str]:
    return sorted({path for m in runs for path in m.effective} - _OWN)


def draw(runs: Sequence[BackendRun], path: Path) -> Path | None:
    """Write the loss curves, one over the other; None where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    # pyplot is not used, as it looks for a display and keeps every figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.0), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, m in enumerate(runs):
        # Curves that agree lie on top of each other: thinner and dashed above keeps all of them in sight.
        style: dict[str, Any] = {"linewidth": 3.5 - number, "linestyle": "-" if number == 0 else "--"}
        axes.plot([s for s, _ in m.losses], [x for _, x in m.losses], label=m.name, **style)
    axes.set(xlabel="step", ylabel="loss", title="training loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    return path
