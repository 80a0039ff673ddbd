"""The learning rate that a schedule ends at, in the schedule's own settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aligntune_core.config.keywords import named
from aligntune_core.config.schema.sections import Config
from aligntune_core.errors import ConfigError
from aligntune_core.wording import listed

# Schedule -> its name of that learning rate.
_FLOORS: Mapping[str, str] = {
    "cosine_with_min_lr": "min_lr",
    "cosine_warmup_with_min_lr": "min_lr",
    "polynomial": "lr_end",
    "reduce_lr_on_plateau": "min_lr",
}
_LIKE = {"cosine": "cosine_with_min_lr", "linear": "polynomial"}
_CONSTANT = ("constant", "constant_with_warmup")


def floor(config: Config) -> dict[str, Any] | None:
    """The settings that make the schedule end at ``min_learning_rate``; None where that is not set."""
    name, end = _FLOORS.get(config.optim.lr_scheduler), config.optim.min_learning_rate
    return None if end is None or name is None else {name: end}


def check_steps(config: Config, steps: int | None) -> None:
    """Refuse a decay that is longer than what the warm-up leaves of the run: it would start in its middle.

    Raises:
        ConfigError: with the numbers.
    """
    decay = (config.optim.lr_scheduler_kwargs or {}).get("num_decay_steps")
    warmup = config.optim.warmup_steps or 0
    if steps is not None and isinstance(decay, int) and warmup + decay > steps:
        raise ConfigError(
            f"{named('optim.lr_scheduler_kwargs')}: num_decay_steps={decay} and warmup_steps={warmup} are more than "
            f"the {steps} steps of the run"
        )


def problems(config: Config) -> Iterator[str]:
    """What schedule, its settings and its end say against each other."""
    optim = config.optim
    schedule, kwargs, end = optim.lr_scheduler, optim.lr_scheduler_kwargs, optim.min_learning_rate
    if kwargs and schedule in _CONSTANT:
        yield f"{named('optim.lr_scheduler_kwargs')}: lr_scheduler={schedule!r} has no settings; leave them out"
    if end is None:
        return
    if schedule not in _FLOORS:
        like = _LIKE.get(schedule)
        take = f'take "{like}", the same with an end' if like else f"take {listed(_FLOORS)}"
        yield f"min_learning_rate={end:g}: lr_scheduler={schedule!r} has no end that can be set; {take}"
    elif kwargs is not None and kwargs != floor(config):
        name = _FLOORS[schedule]
        yield (
            f"min_learning_rate={end:g} and lr_scheduler_kwargs={kwargs}: give one; in lr_scheduler_kwargs "
            f"min_learning_rate is called {name}"
        )
    if optim.learning_rate is not None and end >= optim.learning_rate:
        yield f"min_learning_rate={end:g} must be below learning_rate={optim.learning_rate:g}"
