"""``Probe``: how the kit watches an engine whose model is no ``torch.nn.Module`` of transformers. Light.

An engine may have an attribute ``probe``. The kit then asks it what it learns through torch otherwise: the weights, the
rows of each update, the settings of the optimiser, and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One array of the policy.

    Attributes:
        value: a copy of it, as anything that ``numpy.asarray`` takes.
        trainable: whether training may move it.
        shape: its dimensions.
        dtype: its number format, as its library calls it.
    """

    value: Any
    trainable: bool
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Update:
    """One update of the weights, told of when its gradient is there and the weights have not moved yet.

    Attributes:
        samples: the token ids that went through the policy, without padding: sequences of each micro-batch.
        learning_rate: of this update.
        gradient_norm: norm of the gradient that is applied, that is after clipping.
        settings: what the optimiser goes by for matrices, where it has it: "weight_decay", "beta1", "beta2", "eps".
    """

    samples: Sequence[Sequence[Sequence[int]]]
    learning_rate: float
    gradient_norm: float
    settings: Mapping[str, float] = field(default_factory=dict)


class Probe(Protocol):
    """What an engine tells the kit of its insides."""

    def parameters(self) -> Mapping[str, Parameter]:
        """Name -> array as it is now. An array of the base model has the name that it has in the model's files."""
        ...

    def loss(self, rows: Sequence[Mapping[str, Any]]) -> float:
        """The loss of canonical rows under the weights as they are now, as one global batch; nothing is trained."""
        ...

    def watch(self, on_update: Callable[[Update], None] | None) -> None:
        """Call ``on_update`` before each update of the weights from now on; None: no longer."""
        ...
