"""The values that core and backends hand to each other.

Light on purpose: this module imports the standard library and pydantic only, so a plugin can import it at the
top of its ``plugin.py``. Wherever a ``config`` is meant, it is ``aligntune_core.Config``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from pydantic import BaseModel

Form = Literal["adapter", "merged", "full"]
"""What ``Engine.save`` writes: the adapter alone, the adapter folded into its base, or a model without adapter."""

LossOn = Literal["completion", "assistant", "all", "none"]
"""Where the loss of a data set is; "none" where completions are generated."""


@dataclass(frozen=True, kw_only=True)
class BackendInfo:
    """What a backend says of itself, without importing anything heavy.

    An extension may answer ``backend_info`` too: its ``honours``, ``quantizations``, ``strategies``, ``generators`` and
    ``forbids`` are added to the backend's own, everything else of it is left aside.

    Attributes:
        summary: one line for listings; may stay empty in an extension.
        honours: config paths (``"optim.learning_rate"``) that the backend passes on to its library. A non-default
            field outside this set is refused by core. Paths below ``parameters.`` belong to whoever answers
            ``supports_algorithm`` and need not be listed. Paths that core itself serves may be left out.
        options: pydantic model of ``backend_options``; None means that the backend has none.
        devices: device kinds it can train on: "cpu", "cuda", "mps", "xpu", "npu".
        opt_in_devices: further kinds that its ``prepare`` lets pass where the user asked for it in so many words.
        quantizations: weight formats it can train an adapter on: "4bit", "8bit".
        strategies: how it can use several processes: "single" (one process), "ddp" (whole copies that share a batch).
            A run of several processes on a backend without "ddp" is refused before anything heavy is imported.
        generators: engines that write completions for algorithms that generate: "transformers", "vllm".
        priority: where several backends would do, ``backend="auto"`` takes the one with the highest; names decide ties.
        import_first: the module that must be the first heavy one of the process ("unsloth"), or None.
        forbids: modules that must not be in the process when this backend runs.
        url: where its documentation is.
    """

    summary: str = ""
    honours: frozenset[str] = frozenset()
    options: type[BaseModel] | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")
    opt_in_devices: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ("single",)
    generators: tuple[str, ...] = ("transformers",)
    priority: int = 0
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
        kind, name: "cpu", "cuda", "mps", "xpu" or "npu", and what the vendor calls it.
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
class Topology:
    """This process among those that train together.

    Attributes:
        rank: 0 for the process that creates, locks, writes, prints and draws.
        local_rank: rank among the processes of this machine.
        world_size: processes in all.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Topology:
        """As launchers announce it (RANK, LOCAL_RANK, WORLD_SIZE); one process without a launcher."""
        return cls(
            rank=int(environ.get("RANK", "0")),
            local_rank=int(environ.get("LOCAL_RANK", "0")),
            world_size=int(environ.get("WORLD_SIZE", "1")),
        )

    @property
    def is_main(self) -> bool:
        """Whether this process creates the run folder, writes, prints and draws."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process has come here; nothing where torch's process group is not up."""
        torch = sys.modules.get("torch")
        if self.world_size > 1 and torch is not None and torch.distributed.is_initialized():
            torch.distributed.barrier()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What ``prepare`` learnt: the device, the tokenizer, and whatever the plugin wants to know once only.

    Attributes:
        device: the device judged fit for the run.
        tokenizer: a transformers tokenizer, or None where the backend has its own way.
        vocabulary: rows of the model's token embedding, before the run changes it; None where that is not known.
        versions: distribution -> version of what takes part in the run.
        topology: this process among the others.
        state: the plugin's own, handed on to every later hook and never looked at by core.
    """

    device: Device
    tokenizer: Any = None
    vocabulary: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    topology: Topology = field(default_factory=Topology.from_environment)
    state: Any = None


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer.

    Attributes:
        model: the policy.
        tokenizer: its tokenizer.
        roles: the other models of the run, by role: "reference", "teacher", "value", "reward".
    """

    model: Any
    tokenizer: Any
    roles: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RowTokens:
    """One canonical row as the backend's library will have it; see the hook ``tokenize``.

    Attributes:
        length: tokens before truncation; of the longer side of a preference row.
        truncated: whether the library will cut it.
        problem: why the library could not use it (it would drop it, or learn nothing from it); empty where it can.
        column: the canonical column that the problem is about.
        remark: what is not learnt of the row as it stands, for the report, which counts equal remarks.
        columns: columns of tokens to train on in place of the text (``input_ids`` and so on), where the library takes
            rows that are tokenised already; None: it tokenises the row itself.
    """

    length: int = 0
    truncated: bool = False
    problem: str = ""
    column: str = ""
    remark: str = ""
    columns: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class BadRow:
    """One row that cannot be used.

    Attributes:
        place: where it is: ``"row 17"`` (counted from 0 in its split) or ``"train.jsonl:18"`` (file and line).
        column: the column at fault; empty where the whole row is.
        reason: what is wrong with it.
    """

    place: str
    column: str
    reason: str

    def __str__(self) -> str:
        column = f'column "{self.column}": ' if self.column else ""
        return f"{self.place}: {column}{self.reason}"

    def as_dict(self) -> dict[str, str]:
        """The row as JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What became of one set of rows.

    Attributes:
        source, format: where the rows came from, and the format recognised, e.g. "alpaca".
        layout: canonical columns handed to the backend, e.g. ("prompt", "completion").
        loss: where the loss is: "completion", "assistant" (each assistant turn of ``messages``), "all", or "none"
            (online algorithms make their own completions).
        conversational: whether the canonical columns hold message lists rather than text.
        text_prompts: whether the rows' prompts were plain texts, each of which became a user's message (online
            algorithms; reward functions get texts then).
        saw, columns, template: sentences for people, the columns found, and what was said about the chat template.
        warnings: those of ``saw`` that say what is not learnt; they are logged too.
        rows_given, rows_dropped, rows_made: rows of the source that were read, those left out because they cannot be
            used (``on_bad_rows="drop"``), and the canonical rows that the others give; None while streaming.
        bad_rows: the rows that cannot be used.
        max_tokens, mean_tokens: of a row, before truncation; 0 where no tokenizer was given or when streaming.
        truncated_rows: rows longer than ``max_seq_length``.
        fingerprint: hash of the canonical rows.
        eval: the same for the held-out rows, or None.
    """

    source: str
    format: str
    layout: tuple[str, ...]
    loss: LossOn
    conversational: bool
    text_prompts: bool = False
    saw: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows_given: int | None = 0
    rows_dropped: int | None = 0
    rows_made: int | None = 0
    bad_rows: tuple[BadRow, ...] = ()
    max_tokens: int = 0
    mean_tokens: float = 0.0
    truncated_rows: int = 0
    template: str = ""
    fingerprint: str = ""
    eval: DataReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON; of the bad rows the first 100."""
        content = asdict(replace(self, bad_rows=self.bad_rows[:100], eval=None))
        del content["text_prompts"]  # for the reward functions of this run only
        return {**content, "eval": self.eval.as_dict() if self.eval else None}


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """Rows with canonical columns (see docs/data-formats.md).

    Attributes:
        train: a ``datasets.Dataset`` (``IterableDataset`` when streaming). Where the hook ``tokenize`` gave columns of
            tokens, they are there in place of the text.
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
        artifact: name -> path in the run folder for a further file of the backend's (``"samples.jsonl"``); it belongs
            to the run, so it is set aside with an earlier run and never uploaded with the model.
        checkpoint_dir: step -> folder to write the checkpoint of that step into.
        emit: takes one event, e.g. ``{"step": 3, "loss": 1.2, "learning_rate": 1e-4, "grad_norm": .5, "tokens": 812}``;
            ``tokens`` counts those of this event alone. Keys starting with ``eval_`` are evaluation results.
        stop: None, or the reason why training should save and return now.
        topology: this process among the others, as ``Prepared`` had it.
    """

    output_dir: Path
    cache_dir: Path
    artifact: Callable[[str], Path]
    checkpoint_dir: Callable[[int], Path]
    emit: Callable[[Mapping[str, Any]], None]
    stop: Callable[[], str | None]
    topology: Topology = field(default_factory=Topology)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainResult(Mapping[str, Any]):
    """What ``train`` returns; a mapping with the keys of ``KEYS`` too. An engine gives the first three, core the rest.

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


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How completions are drawn.

    Attributes:
        max_new_tokens: tokens a completion may have.
        temperature: 0 is greedy.
        top_p: nucleus: the smallest set of tokens with this probability, 0..1.
        n: completions a prompt; more than one needs a temperature above 0.
        stop: texts that end a completion; left out of it.
        seed: of this draw; None: the generator goes on from where it is.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None


class Engine(Protocol):
    """One built training run of a backend. Core wraps it in ``aligntune_core.Trainer``.

    Under several processes every rank calls ``train``, ``evaluate``, ``save`` and ``generate``; rank 0 alone writes.
    An engine whose ``model`` is no ``torch.nn.Module`` of transformers may have an attribute ``probe`` besides, an
    ``aligntune_core.testing`` ``Probe``, through which the conformance kit watches it.
    """

    @property
    def native(self) -> Any:
        """The library's own trainer."""

    @property
    def model(self) -> Any:
        """The policy being trained."""

    def effective(self) -> Mapping[str, Any]:
        """Config path -> value in force, read from the built objects, never from the configuration.

        The key ``"data.rows"`` (int), where given, is the number of training rows that the library accepted, before
        packing; core compares it with the number it handed over.
        """

    def train(self, resume_from: Path | None = None) -> TrainResult:
        """Train to the end, to a limit or until ``RunContext.stop()`` gives a reason."""

    def evaluate(self, rows: Any = None) -> Mapping[str, float]:
        """Evaluate on ``rows`` (canonical, as those of ``Datasets``), by default on the run's held-out rows."""

    def save(self, path: Path, form: Form) -> None:
        """Write the weights in that form, and the tokenizer, loadable with plain peft and transformers."""

    def generate(self, prompts: Sequence[Any], sampling: Sampling) -> list[str]:
        """Complete each prompt (a string, or a list of messages): ``sampling.n`` texts each, next to each other."""

    def close(self) -> None:
        """Let go of memory and processes; nothing is called afterwards."""
