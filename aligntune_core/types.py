"""The values that core and backends hand to each other.

Light on purpose: this module imports the standard library and pydantic only, so a plugin can import it at the
top of its ``plugin.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from pydantic import BaseModel

    from aligntune_core.config import ResolvedConfig
    from aligntune_core.data import DataReport


@dataclass(frozen=True, kw_only=True)
class BackendInfo:
    """What a backend says of itself, without importing anything heavy.

    Attributes:
        summary: one line for listings.
        honours: config paths (``"optim.learning_rate"``) that the backend passes on to its library. A non-default
            field outside this set is refused by core. Paths below ``parameters.`` belong to whoever answers
            ``supports_algorithm`` and need not be listed. Paths that core itself serves may be left out.
        options: pydantic model of ``backend_options``; None means that the backend has none.
        devices: device kinds it can train on: "cpu", "cuda", "mps", "xpu", "npu".
        opt_in_devices: further kinds that its ``prepare`` lets pass where the user asked for it in so many words.
        quantizations: weight formats it can train an adapter on: "4bit", "8bit".
        import_first: the module that must be the first heavy one of the process ("unsloth"), or None.
        forbids: modules that must not be in the process when this backend runs.
        url: where its documentation is.
    """

    summary: str
    honours: frozenset[str] = frozenset()
    options: type[BaseModel] | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")
    opt_in_devices: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    import_first: str | None = None
    forbids: tuple[str, ...] = ()
    url: str | None = None


@dataclass(frozen=True)
class Support:
    """An answer of ``supports_algorithm`` with its reason."""

    ok: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True, kw_only=True)
class Device:
    """The device a run will use.

    Attributes:
        kind: "cpu", "cuda", "mps", "xpu" or "npu".
        name: what the vendor calls it.
        bf16: whether bfloat16 compute is native and fast there.
        count: visible devices of this kind.
        memory_bytes: memory of one device in bytes; 0 where unknown.
    """

    kind: str
    name: str = ""
    bf16: bool = False
    count: int = 1
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What ``prepare`` found: the device, the tokenizer, and how the library would read a configuration.

    Attributes:
        device: the device judged fit for the run.
        tokenizer: a transformers tokenizer, or None where the backend has its own way.
        planned: config path -> value the library would use, from its own argument object, without weights.
        versions: distribution -> version of what takes part in the run.
    """

    device: Device
    tokenizer: Any = None
    planned: Callable[[ResolvedConfig], Mapping[str, Any]] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer.

    Attributes:
        model: the policy.
        tokenizer: its tokenizer.
        adapter: adapter configuration that the trainer will apply, where ``apply_peft`` only attached one.
        reference: the reference policy, where it is a model of its own.
    """

    model: Any
    tokenizer: Any
    adapter: Any = None
    reference: Any = None


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """Rows with canonical columns (see docs/data-formats.md).

    Attributes:
        train: a ``datasets.Dataset`` (``IterableDataset`` when streaming).
        eval: held-out rows in the same shape, or None.
        fingerprint: hash of the rows' content.
        report: what loading saw, converted and dropped.
    """

    train: Any
    eval: Any = None
    fingerprint: str = ""
    report: DataReport | None = None


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What a backend may use of the run: its folders, the metric sink and the stop flag.

    Attributes:
        output_dir: the run folder; core owns ``aligntune.json`` and ``metrics.jsonl`` in it.
        cache_dir: a folder for compiled kernels and the like.
        checkpoint_dir: step -> folder to write the checkpoint of that step into.
        emit: takes one event, e.g. ``{"step": 3, "loss": 1.2, "learning_rate": 1e-4, "grad_norm": .5, "tokens": 812}``;
            ``tokens`` counts those of this event alone. Keys starting with ``eval_`` are evaluation results.
        stop: None, or the reason why training should save and return now.
    """

    output_dir: Path
    cache_dir: Path
    checkpoint_dir: Callable[[int], Path]
    emit: Callable[[Mapping[str, Any]], None]
    stop: Callable[[], str | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainResult(Mapping[str, Any]):
    """What ``train`` returns; also a read-only mapping with the keys of ``KEYS``.

    An engine gives the first three; core adds the others.

    Attributes:
        steps: optimiser steps taken in all, those before a resume included.
        metrics: final figures, e.g. ``{"train_loss": 1.3}``.
        stopped: why the run ended early, or None.
        final_loss: loss of the last logged step.
        training_time: wall-clock seconds of ``train()``.
        model_path: folder of the trained adapter or model; of the last checkpoint where the run was stopped early.
    """

    steps: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    stopped: str | None = None
    final_loss: float | None = None
    training_time: float = 0.0
    model_path: str = ""

    KEYS: ClassVar = (
        "train_loss",
        "final_loss",
        "total_steps",
        "training_time",
        "model_path",
        "stopped",
        "metrics",
    )

    def __getitem__(self, key: str) -> Any:
        if key == "total_steps":
            return self.steps
        if key == "train_loss":
            return self.metrics.get("train_loss", self.final_loss)
        if key in self.KEYS:
            return getattr(self, key)
        return self.metrics[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.KEYS)

    def __len__(self) -> int:
        return len(self.KEYS)


class Engine(Protocol):
    """One built training run of a backend. Core wraps it in ``aligntune_core.pipeline.trainer.Trainer``."""

    @property
    def native(self) -> Any:
        """The library's own trainer."""
        ...

    @property
    def model(self) -> Any:
        """The policy being trained."""
        ...

    def effective(self) -> Mapping[str, Any]:
        """Config path -> value in force, read from the built objects, never from the configuration.

        The key ``"data.rows"`` (int), where given, is the number of training rows that the library accepted, before
        packing; core compares it with the number it handed over.
        """
        ...

    def train(self, resume_from: Path | None = None) -> TrainResult:
        """Train to the end, to a limit or until ``RunContext.stop()`` gives a reason."""
        ...

    def evaluate(self, dataset: Any = None) -> Mapping[str, float]:
        """Evaluate on ``dataset`` (canonical rows), by default on the run's held-out rows."""
        ...

    def save_model(self, path: Path, merged: bool = False) -> None:
        """Write adapter or model, and tokenizer, loadable with plain peft and transformers."""
        ...

    def generate(
        self,
        prompts: Sequence[Any],
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> list[str]:
        """Complete each prompt (a string, or a list of messages); temperature 0 is greedy."""
        ...
