"""The configuration tree: every field with its type, range, unit, keyword and aliases.

Config paths are dotted attribute paths of ``Config`` (``"optim.learning_rate"``). What is still "auto" or, where
no ``off`` is stated, ``None`` after a call is read, ``aligntune_core.config.resolve.resolution`` fills in.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, PrivateAttr, field_validator

from aligntune_core.config.schema.weights import ModelConfig, PeftConfig
from aligntune_core.fields import Section, option, ours

Strategy = Literal["no", "steps", "epoch"]
AnySection = TypeVar("AnySection", bound=BaseModel)

# What the examples of some fields need beside them.
_EACH_EPOCH = {"run.save_strategy": "epoch", "run.eval_strategy": "epoch"}
_BEST = {"run.load_best_model_at_end": True, **_EACH_EPOCH}


class DataConfig(Section):
    """Where rows come from and how they are read."""

    dataset: Any = ours(
        "hub id, local file or folder, datasets.Dataset, or a list of dicts",
        keyword="dataset_name",
        aliases=("dataset", "train_dataset"),
    )
    config_name: str | None = ours(
        "the dataset's configuration on the hub",
        None,
        aliases=("subset", "dataset_config_name", "dataset_config"),
        off="the only one",
    )
    split: str = ours("split, with slices: train[:1%]", "train", aliases=("dataset_split", "train_split"))
    eval_dataset: Any = ours("held-out rows: as dataset_name", None, off="none, unless eval_split is given")
    eval_split: str | None = ours("held-out split of the same dataset, or of eval_dataset", None, off="none")
    max_samples: int | None = ours("use the first N rows", None, ge=1, off="all rows")
    max_eval_samples: int | None = ours("use the first N held-out rows", None, ge=1, off="all rows")
    column_mapping: dict[str, str] | None = ours(
        "column -> role, or role -> column",
        None,
        aliases=("field_mappings",),
        off="columns are recognised by name",
    )
    text_column: str | None = ours(
        "column of plain text for language modelling",
        None,
        aliases=("dataset_text_field",),
        off="text, where there is no other known column",
    )
    streaming: bool = ours("read rows as training goes; needs max_steps", False)
    on_bad_rows: Literal["error", "drop"] = ours("what to do with rows that cannot be used", "error")
    system_prompt: str | None = ours(
        "system message put before every conversation that has none", None, off="none"
    )
    num_proc: int | None = option(
        "processes for the library's tokenisation", None, keyword="dataset_num_proc", ge=1, off="one process"
    )
    max_seq_length: int = option(
        "tokens a row may have; longer rows are cut",
        1024,
        aliases=("max_length",),
        ge=1,
        source="TRL",
        on_resume="changes",
    )
    truncation_mode: Literal["keep_start", "keep_end"] = option(
        "which end of a long row is kept", "keep_start", source="TRL", on_resume="changes"
    )
    completion_only_loss: bool | None = option(
        "loss on the completion (the assistant's turns) only; unset: yes. Rows of plain text have no "
        "completion and are trained whole",
        None,
        only="supervised",
        neutral=(True,),
        on_resume="changes",
    )
    packing: bool = option(
        "fill sequences of max_seq_length with several rows", False, only="supervised", on_resume="changes"
    )
    packing_strategy: Literal["bfd", "bfd_split", "wrapped"] = option(
        "how rows are packed: best fit, long rows cut off or split; or end to end",
        "bfd",
        only="supervised",
        source="TRL",
        on_resume="changes",
        beside={"data.packing": True},
    )
    padding_free: bool = option("one flat sequence a batch instead of padding", False, only="offline")
    group_by_length: bool = option("batch rows of similar length", False, only="offline", on_resume="changes")

    @field_validator("config_name", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # what YAML makes of a name like 2024

    @field_validator("eval_split", mode="before")
    @classmethod
    def _no_share(cls, value: Any) -> Any:
        if isinstance(value, float) and 0 < value < 1:
            left = round(100 * (1 - value))
            raise ValueError(
                f'must name rows, not a share: split="train[:{left}%]", eval_split="train[{left}%:]"'
            )
        return value


class OptimConfig(Section):
    """Optimiser, schedule and batch."""

    learning_rate: float | None = option(
        "peak learning rate; default by algorithm", None, gt=0, on_resume="held"
    )
    optimizer: str = option(
        "a transformers optimiser name", "adamw_torch", aliases=("optim",), on_resume="held", example="sgd"
    )
    lr_scheduler: str = option(
        "a transformers schedule name",
        "linear",
        aliases=("lr_scheduler_type",),
        source="transformers",
        on_resume="changes",
        example="cosine",
    )
    warmup_steps: int | None = option(
        "steps of linear warm-up", None, ge=0, off="warmup_ratio decides (where rows are packed)"
    )
    warmup_ratio: float = option(
        "share of the steps that warm up, 0..1; warmup_steps wins",
        0.0,
        ge=0,
        le=1,
        beside={"optim.max_steps": 20},
        alone=True,
    )
    weight_decay: float = option("decoupled weight decay", 0.0, ge=0, on_resume="held")
    max_grad_norm: float = option(
        "gradient norm clip; 0: no clipping", 1.0, ge=0, source="transformers", on_resume="changes"
    )
    adam_beta1: float = option("AdamW beta 1", 0.9, ge=0, lt=1, on_resume="held")
    adam_beta2: float = option("AdamW beta 2", 0.999, ge=0, lt=1, on_resume="held")
    adam_epsilon: float = option("AdamW epsilon", 1e-8, gt=0, on_resume="held")
    num_epochs: float | None = option(
        "passes over the rows; default by algorithm",
        None,
        aliases=("num_train_epochs", "epochs"),
        gt=0,
        beside={"optim.max_steps": None},
        alone=True,
    )
    max_steps: int | None = option(
        "optimiser steps (PPO: updates); -1 or unset: num_epochs decides",
        None,
        ge=1,
        off="num_epochs decides (where rows are packed)",
    )
    batch_size: int = option(
        "rows a device and micro-batch",
        8,
        aliases=("per_device_train_batch_size",),
        ge=1,
        source="transformers",
    )
    eval_batch_size: int | None = option(
        "rows a device in evaluation; unset: batch_size", None, aliases=("per_device_eval_batch_size",), ge=1
    )
    gradient_accumulation_steps: int = option(
        "micro-batches an optimiser step, as one process would have", 1, ge=1
    )
    gradient_checkpointing: bool | Literal["auto", "unsloth"] = option(
        "recompute activations in the backward pass; auto: on where the device is not a CPU",
        "auto",
        aliases=("use_gradient_checkpointing",),
    )
    activation_offloading: bool = option("keep activations in host memory", False)
    torch_compile: bool = option("compile the model with torch.compile", False)
    use_liger_kernel: bool = option("liger's fused kernels", False)
    tf32: bool | None = option("TF32 matrix products on CUDA", None, off="torch's default")


class RunConfig(Section):
    """The run: folder, seed, logging, checkpoints, evaluation."""

    output_dir: str | None = ours(
        "run folder; unset: aligntune_output/ALGORITHM-MODEL below the current directory", None
    )
    run_name: str | None = option("name in trackers", None, off="the tracker's choice", example="a-name")
    seed: int = ours("seed of every random choice", 42, ge=0, on_resume="changes")
    data_seed: int | None = option(
        "seed of the order of samples; unset: seed", None, ge=0, on_resume="changes"
    )
    logging_steps: int = option("steps between metric lines", 1, aliases=("log_interval",), ge=1)
    save_strategy: Literal["no", "steps", "epoch", "best"] = option(
        "when checkpoints are written", "steps", source="transformers", example="epoch"
    )
    save_steps: int = option(
        "steps between checkpoints", 500, aliases=("save_interval",), ge=1, source="transformers"
    )
    save_total_limit: int | None = option(
        "checkpoints kept; older ones are removed", None, ge=1, off="all are kept"
    )
    eval_strategy: Strategy | Literal["auto"] = option(
        "when held-out rows are evaluated; auto: every eval_steps where given, else each epoch, where "
        "there are any",
        "auto",
        example="steps",
    )
    eval_steps: int | None = option(
        "steps between evaluations; unset: logging_steps", None, aliases=("eval_interval",), ge=1
    )
    load_best_model_at_end: bool = option(
        "finish with the best checkpoint instead of the last", False, beside=_EACH_EPOCH, alone=True
    )
    metric_for_best_model: str | None = option(
        "metric that decides which is best", None, off="eval_loss", example="eval_loss", beside=_BEST
    )
    greater_is_better: bool | None = option(
        "whether that metric should grow", None, off="the library decides by its name", beside=_BEST
    )
    report_to: list[str] = option(
        "trackers: wandb, tensorboard, trackio, ...; none", [], aliases=("loggers",), example=["tensorboard"]
    )
    callbacks: list[Any] = option("transformers TrainerCallback objects", [])
    dataloader_num_workers: int = option("loader processes; 0: none", 0, ge=0)

    @field_validator("output_dir", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, PathLike) else value

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        return [n for n in names if n != "none"] if isinstance(names, (list, tuple)) else names


class RewardsConfig(Section):
    """What scores completions in online algorithms."""

    functions: list[Any] = option(
        "callables, names, package.module:function, reward models, or dicts {type, weight, params}",
        [],
        keyword="reward_functions",
        aliases=("rewards", "reward_funcs"),
        only="rewards",
        example=["length"],
    )
    weights: list[float] | None = option(
        "weight of each function",
        None,
        keyword="reward_function_weights",
        aliases=("reward_weights",),
        only="rewards",
        off="1 each",
        example=[0.5],
    )
    model: Any = option(
        "hub id or folder of a sequence-classification reward model, or one in memory",
        None,
        keyword="reward_model_name",
        aliases=("reward_model_path", "reward_model"),
        only="rewards",
        off="none",
        example="a-reward-model",
    )

    @field_validator("functions", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return list(value) if isinstance(value, (list, tuple)) else [value]


def replaced(section: AnySection, path: str, value: Any) -> AnySection:
    """A copy with the value at a dotted path changed; not checked."""
    name, _, inner = path.partition(".")
    value = replaced(getattr(section, name), inner, value) if inner else value
    return section.model_copy(update={name: value})


class Config(Section):
    """One run, whole.

    Two are equal where all their fields are; where the values came from does not count.
    """

    algorithm: str = ours("sft, dpo, ... (see aligntune algorithms)", on_resume="held")
    backend: str = ours("name of an installed backend, or auto", "auto")
    isolation: Literal["none", "process"] = ours("run the backend in a process of its own", "none")
    backend_options: dict[str, Any] = ours("options that only this backend has", {})
    model: ModelConfig
    peft: PeftConfig = option("the adapter", PeftConfig(), on_resume="held")
    data: DataConfig
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()
    rewards: RewardsConfig = option("what scores completions", RewardsConfig(), on_resume="changes")
    parameters: Any = ours("the algorithm's own parameters", None, on_resume="changes")

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _defaults: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def sources(self) -> dict[str, str]:
        """Config path -> where its value is from: "call", "file x.yaml:3", "default ...", "resolved: ..."."""
        return self._sources

    def decided(self, path: str, value: Any, source: str) -> Config:
        """A copy with one value changed, and where it is from."""
        copy = replaced(self, path, value)
        copy._sources = {**self._sources, path: source}
        return copy

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]  # holds lists and dicts
