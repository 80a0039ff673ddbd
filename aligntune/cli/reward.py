"""``aligntune reward``: which rewards there are, and whether a run's rewards tell right from wrong."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aligntune.cli.options import ConfigFile, Json, Overrides, Verbose, make_app
from aligntune.cli.output import console, print_json, print_table

if TYPE_CHECKING:
    from aligntune_core.config import Config
    from aligntune_core.rewards.check import CheckReport

app = make_app(no_args_is_help=True)

BARS = " ▁▂▃▄▅▆▇█"


@app.callback()
def reward() -> None:
    """List rewards, or check them before training."""


@app.command("list")
def list_(verbose: Verbose = False, json: Json = False) -> None:
    """List the rewards that can be given by name."""
    from aligntune_core.rewards import list_rewards

    infos = list_rewards()
    if json:
        print_json([asdict(info) for info in infos])
        return
    print_table(
        ("reward", "scores", "range", "from"),
        [(i.name, i.summary.replace("``", ""), i.scores, i.requires or i.distribution) for i in infos],
    )


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Also load the model and score this many sampled completions.")
    ] = 0,
    rows: Annotated[int, typer.Option(min=1, help="Score the references of the first N rows.")] = 200,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Score real rows before any training.

    Scores each row's right answer as if the model had given it, beside the right answers of other rows and, with
    --samples, what the model says now. Warns if all score alike, or if right answers do not score higher than others.
    """
    from aligntune_core.config import load_config

    report = run_check(load_config(config, overrides=overrides or ()), samples, rows)
    if json:
        print_json({"ok": report.ok, **asdict(report)})
    else:
        _print(report)


def run_check(config: Config, samples: int, rows: int) -> CheckReport:
    """Load the rows and the rewards of a configuration, and check them.

    Raises:
        ConfigError: the algorithm has no rewards, or they cannot be made.
        DataError: rows cannot be used.
        RewardError: a reward does not give a number for every sample.
    """
    from aligntune_core.algorithms import find
    from aligntune_core.config.resolve.resolution import resolve
    from aligntune_core.data import prepare_datasets
    from aligntune_core.errors import ConfigError
    from aligntune_core.model.tokenizer import load_tokenizer
    from aligntune_core.rewards import RewardSet, build_rewards
    from aligntune_core.rewards.check import check_rewards, sample_completions
    from aligntune_core.types import Device

    algorithm = find(config.algorithm)
    if algorithm.scored_by != "rewards":
        raise ConfigError(
            f"{algorithm.name} scores no completions of its own, so it has no rewards to check."
        )
    # Nothing is trained, so the device only has to be one that every configuration resolves on.
    resolved = resolve(config, Device(kind="cpu"))
    limits = {"max_completion_length": getattr(resolved.parameters, "max_completion_length", 512)}
    rewards = build_rewards(resolved.rewards, defaults=limits)
    tokenizer = (
        load_tokenizer(resolved.model) if samples or any(r.wants_tokens for r in rewards.rewards) else None
    )
    datasets = prepare_datasets(resolved, algorithm, tokenizer)
    rewards = RewardSet(
        rewards.rewards, tokenizer, datasets.report is not None and datasets.report.text_prompts
    )

    def sample(prompts: list[Any]) -> list[str]:
        return sample_completions(
            resolved.model,
            tokenizer,
            prompts,
            max_new_tokens=limits["max_completion_length"],
            temperature=getattr(resolved.parameters, "temperature", 1.0),
            top_p=getattr(resolved.parameters, "top_p", 1.0),
            seed=resolved.run.seed,
        )

    first_rows = list(islice(iter(datasets.train), max(rows, samples)))
    return check_rewards(rewards, first_rows, sample, samples, resolved.run.seed)


def _print(report: CheckReport) -> None:
    from rich.text import Text

    from aligntune_core.rewards.text import prompt_text, shorten

    out = console()
    print_table(
        ("reward", "weight", "texts", "n", "mean", "range", "distribution"),
        [
            (
                name if first else "",
                f"{report.weights[name]:g}" if first and name in report.weights else "",
                group,
                str(distribution.count),
                f"{distribution.mean:.3g}",
                f"{distribution.low:.3g}"
                if distribution.low == distribution.high
                else f"{distribution.low:.3g} to {distribution.high:.3g}",
                bars(distribution.histogram),
            )
            for name, groups in report.rewards.items()
            for first, (group, distribution) in zip(
                [True] + [False] * len(groups), groups.items(), strict=False
            )
        ],
    )
    if report.samples:
        print_table(
            ("prompt", "sampled completion", "total"),
            [
                (shorten(prompt_text(s["prompt"]), 60), shorten(s["completion"], 120), f"{s['total']:.3g}")
                for s in report.samples
            ],
        )
    if report.references is None:
        out.print(Text("No row has a right answer; only sampled completions were scored.", style="yellow"))
    for warning in report.warnings:
        out.print(Text.assemble(("warning: ", "bold yellow"), warning), soft_wrap=True)
    if report.ok and "others" in report.rewards["total"]:
        out.print(Text("Right answers score higher than other rows' answers.", style="green"))


def bars(histogram: tuple[int, ...]) -> str:
    """A histogram as one line of blocks, the highest bin full."""
    most = max(histogram) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in histogram)
