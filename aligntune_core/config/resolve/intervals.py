"""When a run evaluates and saves: shares of all steps, and numbers an epoch, become steps.

Core counts them, so that the same call evaluates and saves after the same steps on every backend. Where rows are packed
the library alone knows how many steps there will be: a share is then left to it, and a number an epoch becomes one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Literal

from aligntune_core.config.schema.sections import Config
from aligntune_core.errors import ConfigError

Kind = Literal["eval", "save"]
KINDS: tuple[Kind, ...] = ("eval", "save")
_OF_STEPS = re.compile(r"resolved: (\S+) of \d+ steps$")
NEARLY_ALL = math.nextafter(1.0, 0.0)
"""The share that means: with the last step. 1 would mean: after each step."""


def problems(config: Config) -> Iterator[str]:
    """What can be told before the rows are there."""
    strategies = {"eval": config.run.eval_strategy, "save": config.run.save_strategy}
    for kind in KINDS:
        number = per_epoch(config, kind)
        if number is None:
            continue
        if strategies[kind] == "epoch":
            yield (
                f'{kind}s_per_epoch={number} needs {kind}_strategy="steps", not "epoch": leave {kind}_strategy out'
            )
        if config.data.streaming:
            yield (
                f"{kind}s_per_epoch={number} needs rows that can be counted, and they are streamed: give {kind}_steps"
            )
        if config.data.packing and config.optim.max_steps is not None:
            yield (
                f"{kind}s_per_epoch={number} with packing needs num_epochs in place of max_steps: how many steps make "
                f"an epoch is known only after packing. Or give {kind}_steps"
            )
    if _keeps_best(config) and not any(per_epoch(config, kind) for kind in KINDS):
        yield from _best_problems(config)


def per_epoch(config: Config, kind: Kind) -> int | None:
    """Evaluations or checkpoints an epoch that the configuration asks for."""
    return config.run.evals_per_epoch if kind == "eval" else config.run.saves_per_epoch


def resolve_intervals(config: Config, steps: int | None, updates: int | None) -> Config:
    """The configuration with steps in place of shares and of numbers an epoch.

    Args:
        config: of a run whose rows are counted.
        steps: of the whole run; None where packing leaves them open.
        updates: steps of one epoch; likewise.

    Raises:
        ConfigError: the best checkpoint is to be loaded, and would not be among those that are evaluated.
    """
    for kind in KINDS:
        path = f"run.{kind}_steps"
        number, every = per_epoch(config, kind), every_of(config, kind)
        if number is not None:
            config = config.decided(path, *_of_epoch(config, number, updates))
        elif every is not None and every < 1 and steps is not None:
            config = config.decided(path, _share(every, steps), f"resolved: {every!r} of {steps} steps")
    if _keeps_best(config) and (sentences := list(_best_problems(config))):
        raise ConfigError(sentences)
    return config


def share_behind(source: str) -> float | None:
    """The share that a manifest's steps were worked out from, told by their source; None for any other source."""
    share = _OF_STEPS.match(source)
    return float(share[1]) if share else None


def every_of(config: Config, kind: Kind) -> int | float | None:
    """Steps, or the share of them, from one evaluation or checkpoint to the next."""
    return config.run.eval_steps if kind == "eval" else config.run.save_steps


def _of_epoch(config: Config, number: int, updates: int | None) -> tuple[int | float, str]:
    """The interval of ``number`` an epoch, and why: in steps, or as a share of all where an epoch's are not known."""
    if updates is not None:
        return math.ceil(updates / number), f"resolved: {number} an epoch of {updates} steps"
    epochs = config.optim.num_epochs or 1.0
    return min(1 / (number * epochs), NEARLY_ALL), f"resolved: {number} in each of {epochs:g} epochs"


def _share(every: float, steps: int) -> int:
    """A share in steps, rounded up as transformers does; 0.07 of 100 are 7 though, not 7.000000000000001."""
    return math.ceil(round(every * steps, 9))


def _keeps_best(config: Config) -> bool:
    run = config.run
    return run.load_best_model_at_end and run.save_strategy == run.eval_strategy == "steps"


def _best_problems(config: Config) -> Iterator[str]:
    """Every checkpoint has to be evaluated, or the best of them is not known."""
    saved, evaluated = config.run.save_steps, config.run.eval_steps
    if evaluated is None or saved == evaluated:
        return
    head = "load_best_model_at_end=True needs save_steps to be a multiple of eval_steps, not"
    if saved >= 1 and evaluated >= 1:
        if saved % evaluated:
            yield f"{head} {saved} and {evaluated}"
    elif config.data.packing and config.optim.max_steps is None:
        yield f"{head} {saved:g} and {evaluated:g} of a number of steps that packing decides: take the same for both"
