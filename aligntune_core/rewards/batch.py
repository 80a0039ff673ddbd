"""The samples of one scoring call, and the protocol that every reward follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any, Protocol

from aligntune_core.errors import RewardError
from aligntune_core.rewards.text import TextOrMessages, completion_text, prompt_text, shorten


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples to score."""

    prompts: Sequence[TextOrMessages]  # one a sample: a string, or a list of messages
    completions: Sequence[TextOrMessages]  # likewise
    # The rows' other columns, each with one value a sample.
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    # Token ids of each completion, where they are known.
    completion_ids: Sequence[Sequence[int]] | None = None
    # What a trainer offers to functions of TRL's form (``trainer_state``, ``log_metric``, ...), passed whole.
    extras: Mapping[str, Any] = field(default_factory=dict)
    # Whether the rows' prompts were plain texts: functions get texts then, as from TRL.
    text_prompts: bool = False

    def __len__(self) -> int:
        return len(self.completions)

    def described(self, index: int) -> str:
        """'sample 3 (prompt "...", completion "...")', shortened."""
        prompt, completion = prompt_text(self.prompts[index]), completion_text(self.completions[index])
        return f"sample {index} (prompt {shorten(prompt)}, completion {shorten(completion)})"


class Reward(Protocol):
    """One reward, whatever it is made of.

    Attributes:
        name: in metrics and errors.
        weight: its factor in the total.
        wants_tokens: whether it reads ``completion_ids``.
        reads_reference: whether it compares the completion with a reference of the row.
    """

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def wants_tokens(self) -> bool: ...
    @property
    def reads_reference(self) -> bool: ...

    def load(self) -> None:
        """Do what is heavy: read weights. Does nothing the second time."""

    def score(self, batch: Samples) -> list[float]:
        """One finite number a sample."""
        ...


def checked(name: str, values: Any, batch: Samples) -> list[float]:
    """What the reward ``name`` returned for the samples (a list, a tuple, an array or a tensor) as floats.

    Raises:
        RewardError: not one value a sample, or a value that is None, NaN, infinite or no number.
    """
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        raise RewardError(
            f'reward "{name}" returned {type(values).__name__} {shorten(str(values))}; it must return a list with one '
            f"number a completion ({len(batch)} here)",
            name,
        )
    if len(values) != len(batch):
        first = f" The batch begins with {batch.described(0)}." if len(batch) else ""
        sizes = f"{len(values)} values for {len(batch)} completions"
        raise RewardError(f'reward "{name}" returned {sizes}; it must return one each.{first}', name)
    return [_number(name, value, batch, index) for index, value in enumerate(values)]


def _number(name: str, value: Any, batch: Samples, index: int) -> float:
    if not isinstance(value, Real | Decimal) and hasattr(value, "item"):
        with suppress(TypeError, ValueError, RuntimeError):  # of an array or tensor that is not 0-d
            value = value.item()
    if isinstance(value, Real | Decimal) and math.isfinite(value):
        return float(value)
    text = "None" if value is None else f"{type(value).__name__} {shorten(str(value), 80)}"
    problem = f'reward "{name}" gave {text} for {batch.described(index)}; it must give a finite number'
    raise RewardError(problem, name, index)
