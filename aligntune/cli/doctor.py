"""``aligntune doctor``: check versions, devices and backends, and name what would keep training from working."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from aligntune.cli.failures import ExitCode
from aligntune.cli.options import Json, Verbose, make_app
from aligntune.cli.output import STATE_COLOURS, console, print_json, print_table

if TYPE_CHECKING:
    from aligntune.diagnosis.trial import Trial
    from aligntune_core.backends.listing import BackendRow
    from aligntune_core.model.device import Probe

app = make_app()

# Versions that decide what happens, by normalised name; the rest of the tree is in --json.
SHOWN = (
    *(
        "torch",
        "transformers",
        "trl",
        "peft",
        "accelerate",
        "datasets",
        "tokenizers",
        "bitsandbytes",
        "unsloth",
    ),
    *("unsloth-zoo", "triton", "torchvision", "xformers", "pydantic", "pluggy", "typer"),
)

NEXT = "Next: aligntune demo trains a small model here; aligntune plan CONFIG shows what a run of yours would do."


@dataclass(frozen=True)
class Problem:
    """Something that is not well.

    Attributes:
        what: one sentence that names the culprit.
        remedy: what to do.
        detail: a traceback, where there is one.
    """

    what: str
    remedy: str = ""
    detail: str = ""


@dataclass
class Report:
    """The result of one check."""

    python: str
    platform: str
    aligntune: str
    versions: dict[str, str]
    probe: Probe
    rows: list[BackendRow]
    trials: dict[str, Trial] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The report in types that JSON knows."""
        return {
            "ok": self.ok,
            "aligntune": self.aligntune,
            "python": self.python,
            "platform": self.platform,
            "versions": self.versions,
            "devices": asdict(self.probe),
            "backends": [
                {
                    "name": row.name,
                    "state": row.state,
                    "reason": row.reason,
                    "import": asdict(self.trials[row.name]) if row.name in self.trials else None,
                }
                for row in self.rows
            ],
            "problems": [asdict(problem) for problem in self.problems],
        }


@app.command()
def doctor(
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Check versions, devices and each backend.

    Requirements are compared with what is installed over the whole tree below aligntune and its backends. Each ready
    backend is imported for real, with all its libraries, in a process of its own: allow half a minute a backend.

    Exit code 0 only where all is well.
    """
    report = examine(quiet=json)
    if json:
        print_json(report.as_dict())
    else:
        _print(report, verbose)
    if not report.ok:
        raise typer.Exit(ExitCode.FAILED)


def examine(quiet: bool = True) -> Report:
    """Check versions, devices, requirements and backends; starts one process for each ready backend."""
    from aligntune.diagnosis import conflicts, trial
    from aligntune_core.backends.registry import ALLOW, HINTS, registry
    from aligntune_core.entrypoints import installed
    from aligntune_core.model.device import probe
    from aligntune_core.version import __version__

    rows = registry().rows()
    tree = conflicts.examine(d for d in (installed(row.distribution) for row in rows) if d)
    report = Report(
        python=f"{platform.python_version()} ({sys.executable})",
        platform=platform.platform(),
        aligntune=__version__,
        versions={d.name: d.version for d in tree.distributions.values()},
        probe=probe(),
        rows=rows,
    )
    if not rows:
        report.problems.append(Problem("no backend is installed", HINTS["trl"]))
    report.problems += [
        Problem(note, HINTS.get(name, f"install what brings it, or take it out of {ALLOW}"))
        for name, note in registry().unknown.items()
    ]
    report.problems += [Problem(str(c), c.remedy) for c in tree.conflicts]
    report.problems += [_of_row(row) for row in rows if row.state not in ("ready", "disabled", "missing")]
    report.problems += [
        Problem(
            f"{entry.group} {entry.name} ({entry.distribution} {entry.version}) is {entry.state}: {entry.reason}"
        )
        for entry in registry().third_party()
        if entry.group != "aligntune.backends" and entry.state not in ("ready", "disabled")
    ]
    for row in rows:
        if row.state == "ready":
            if not quiet:
                typer.echo(f"importing backend {row.name} ...", err=True)
            report.trials[row.name] = trial.run(row.name)
            report.problems += _of_trial(row, report.trials[row.name])
    return report


def _of_row(row: BackendRow) -> Problem:
    return Problem(f'backend "{row.name}" is {row.state}: {row.reason}', row.hint, row.traceback)


def _of_trial(row: BackendRow, trial: Trial) -> list[Problem]:
    problems = []
    if not trial.ok:
        culprit = f" Culprit: {trial.culprit}." if trial.culprit else ""
        what = f'backend "{row.name}" cannot be imported: {trial.error.rstrip(".")}.{culprit}'
        problems.append(Problem(what, trial.advice, trial.traceback))
    kinds = [device["kind"] for device in trial.devices]
    if kinds and not set(kinds) & set(row.devices):
        problems.append(
            Problem(
                f'backend "{row.name}" trains on {", ".join(row.devices)}; torch sees {", ".join(kinds)} here',
                f"export ALIGNTUNE_DISABLE_BACKENDS={row.name} leaves it out. "
                + (f"A run says: {trial.refusal}" if trial.refusal else f"It {row.hint}"),
            )
        )
    return problems


def _print(report: Report, verbose: bool) -> None:
    from packaging.utils import canonicalize_name
    from rich.text import Text

    out = console()
    out.print(
        Text(f"aligntune {report.aligntune}  Python {report.python}  {report.platform}"), soft_wrap=True
    )
    versions = {
        str(canonicalize_name(name)): f"{name} {version}" for name, version in report.versions.items()
    }
    out.print(Text("  ".join(versions[name] for name in SHOWN if name in versions)), soft_wrap=True)
    out.print(Text(f"Device to train on: {report.probe.kinds[0]}. Looked for:"), soft_wrap=True)
    out.print(Text("\n".join(f"  {place}" for place in report.probe.looked)), soft_wrap=True)
    print_table(
        ("backend", "state", "imports here", "devices that torch sees"),
        [
            (
                row.name,
                (row.state, STATE_COLOURS.get(row.state, "")),
                *_trial_cells(report.trials.get(row.name)),
            )
            for row in report.rows
        ],
    )
    for problem in report.problems:
        out.print(Text.assemble(("problem: ", "bold red"), problem.what), soft_wrap=True)
        if problem.remedy:
            out.print(Text(f"  -> {problem.remedy}"), soft_wrap=True)
        if problem.detail and verbose:
            out.print(Text(problem.detail, style="dim"), soft_wrap=True)
    hint = "" if verbose or not any(p.detail for p in report.problems) else " Tracebacks: aligntune doctor -v"
    if report.ok:
        out.print(Text(f"All is well. {NEXT}"), soft_wrap=True)
    else:
        out.print(Text(f"{len(report.problems)} problem(s); what to do stands after each ->.{hint}"))


def _trial_cells(trial: Trial | None) -> tuple[str, str]:
    if trial is None:
        return "-", ""
    devices = ", ".join(f"{d['kind']} {d['name']}".strip() for d in trial.devices)
    return (f"yes, in {trial.seconds:.1f} s" if trial.ok else "no"), devices
