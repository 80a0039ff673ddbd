"""The configuration tree: every field with its type, range, unit, keyword and aliases.

Config paths are dotted attribute paths of ``Config`` (``"optim.learning_rate"``). What is still "auto" or, where
no ``off`` is stated, ``None`` after a call is read, ``aligntune_core.config.resolve.resolution`` fills in.
"""

from __future__ import annotations

from os import PathLike
from typing import Annotated, Any, Literal

from pydantic import PrivateAttr, field_validator

from aligntune_core.config.schema.weights import ModelConfig, PeftConfig, Quantization
from aligntune_core.fields import Section, option

__all__ = [
    "Config",
    "DataConfig",
    "ModelConfig",
    "OptimConfig",
    "PeftConfig",
    "Quantization",
    "RewardsConfig",
    "RunConfig",
    "Strategy",
]

Strategy = Literal["no", "steps", "epoch"]

# What the examples of some fields need beside them.
_EACH_EPOCH = {"run.save_strategy": "epoch", "run.eval_strategy": "epoch"}
_BEST = {"run.load_best_model_at_end": True, **_EACH_EPOCH}


class DataConfig(Section):
    """Where rows come from and how they are read."""

    dataset: Annotated[
        Any,
        option(
            "hub id, local file or folder, datasets.Dataset, or a list of dicts",
            keyword="dataset_name",
            aliases=("dataset", "train_dataset"),
            owner="core",
        ),
    ]
    config_name: Annotated[
        str | None,
        option(
            "the dataset's configuration on the hub",
            aliases=("subset", "dataset_config_name", "dataset_config"),
            owner="core",
            off="the only one",
        ),
    ] = None
    split: Annotated[
        str, option("split, with slices: train[:1%]", aliases=("dataset_split", "train_split"), owner="core")
    ] = "train"
    eval_dataset: Annotated[
        Any, option("held-out rows: as dataset_name", owner="core", off="none, unless eval_split is given")
    ] = None
    eval_split: Annotated[
        str | None, option("held-out split of the same dataset, or of eval_dataset", owner="core", off="none")
    ] = None
    max_samples: Annotated[int | None, option("use the first N rows", owner="core", ge=1, off="all rows")] = (
        None
    )
    max_eval_samples: Annotated[
        int | None, option("use the first N held-out rows", owner="core", ge=1, off="all rows")
    ] = None
    column_mapping: Annotated[
        dict[str, str] | None,
        option(
            "column -> role, or role -> column",
            aliases=("field_mappings",),
            owner="core",
            off="columns are recognised by name",
        ),
    ] = None
    text_column: Annotated[
        str | None,
        option(
            "column of plain text for language modelling",
            aliases=("dataset_text_field",),
            owner="core",
            off="text, where there is no other known column",
        ),
    ] = None
    streaming: Annotated[bool, option("read rows as training goes; needs max_steps", owner="core")] = False
    on_bad_rows: Annotated[
        Literal["error", "drop"], option("what to do with rows that cannot be used", owner="core")
    ] = "error"
    system_prompt: Annotated[
        str | None,
        option("system message put before every conversation that has none", owner="core", off="none"),
    ] = None
    num_proc: Annotated[
        int | None,
        option(
            "processes for the library's tokenisation", keyword="dataset_num_proc", ge=1, off="one process"
        ),
    ] = None
    max_seq_length: Annotated[
        int,
        option(
            "tokens a row may have; longer rows are cut",
            aliases=("max_length",),
            ge=1,
            source="TRL",
            on_resume="changes",
        ),
    ] = 1024
    truncation_mode: Annotated[
        Literal["keep_start", "keep_end"],
        option("which end of a long row is kept", source="TRL", on_resume="changes"),
    ] = "keep_start"
    completion_only_loss: Annotated[
        bool | None,
        option(
            "loss on the completion (the assistant's turns) only; unset: yes. Rows of plain text have no "
            "completion and are trained whole",
            only="supervised",
            neutral=(True,),
            on_resume="changes",
        ),
    ] = None
    packing: Annotated[
        bool,
        option("fill sequences of max_seq_length with several rows", only="supervised", on_resume="changes"),
    ] = False
    packing_strategy: Annotated[
        Literal["bfd", "bfd_split", "wrapped"],
        option(
            "how rows are packed: best fit, long rows cut off or split; or end to end",
            only="supervised",
            source="TRL",
            on_resume="changes",
            beside={"data.packing": True},
        ),
    ] = "bfd"
    padding_free: Annotated[bool, option("one flat sequence a batch instead of padding", only="offline")] = (
        False
    )
    group_by_length: Annotated[
        bool, option("batch rows of similar length", only="offline", on_resume="changes")
    ] = False

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

    learning_rate: Annotated[
        float | None, option("peak learning rate; default by algorithm", gt=0, on_resume="held")
    ] = None
    optimizer: Annotated[
        str, option("a transformers optimiser name", aliases=("optim",), on_resume="held", example="sgd")
    ] = "adamw_torch"
    lr_scheduler: Annotated[
        str,
        option(
            "a transformers schedule name",
            aliases=("lr_scheduler_type",),
            source="transformers",
            on_resume="changes",
            example="cosine",
        ),
    ] = "linear"
    warmup_steps: Annotated[
        int | None,
        option("steps of linear warm-up", ge=0, off="warmup_ratio decides (where rows are packed)"),
    ] = None
    warmup_ratio: Annotated[
        float,
        option(
            "share of the steps that warm up, 0..1; warmup_steps wins",
            ge=0,
            le=1,
            beside={"optim.max_steps": 20},
            alone=True,
        ),
    ] = 0.0
    weight_decay: Annotated[float, option("decoupled weight decay", ge=0, on_resume="held")] = 0.0
    max_grad_norm: Annotated[
        float, option("gradient norm clip; 0: no clipping", ge=0, source="transformers", on_resume="changes")
    ] = 1.0
    adam_beta1: Annotated[float, option("AdamW beta 1", ge=0, lt=1, on_resume="held")] = 0.9
    adam_beta2: Annotated[float, option("AdamW beta 2", ge=0, lt=1, on_resume="held")] = 0.999
    adam_epsilon: Annotated[float, option("AdamW epsilon", gt=0, on_resume="held")] = 1e-8
    num_epochs: Annotated[
        float | None,
        option(
            "passes over the rows; default by algorithm",
            aliases=("num_train_epochs", "epochs"),
            gt=0,
            beside={"optim.max_steps": None},
            alone=True,
        ),
    ] = None
    max_steps: Annotated[
        int | None,
        option(
            "optimiser steps (PPO: updates); -1 or unset: num_epochs decides",
            ge=1,
            off="num_epochs decides (where rows are packed)",
        ),
    ] = None
    batch_size: Annotated[
        int,
        option(
            "rows a device and micro-batch",
            aliases=("per_device_train_batch_size",),
            ge=1,
            source="transformers",
        ),
    ] = 8
    eval_batch_size: Annotated[
        int | None,
        option(
            "rows a device in evaluation; unset: batch_size", aliases=("per_device_eval_batch_size",), ge=1
        ),
    ] = None
    gradient_accumulation_steps: Annotated[
        int, option("micro-batches an optimiser step, as one process would have", ge=1)
    ] = 1
    gradient_checkpointing: Annotated[
        bool | Literal["auto", "unsloth"],
        option(
            "recompute activations in the backward pass; auto: on where the device is not a CPU",
            aliases=("use_gradient_checkpointing",),
        ),
    ] = "auto"
    activation_offloading: Annotated[bool, option("keep activations in host memory")] = False
    torch_compile: Annotated[bool, option("compile the model with torch.compile")] = False
    use_liger_kernel: Annotated[bool, option("liger's fused kernels")] = False
    tf32: Annotated[bool | None, option("TF32 matrix products on CUDA", off="torch's default")] = None


class RunConfig(Section):
    """The run: folder, seed, logging, checkpoints, evaluation."""

    output_dir: Annotated[
        str | None,
        option(
            "run folder; unset: aligntune_output/ALGORITHM-MODEL below the current directory", owner="core"
        ),
    ] = None
    run_name: Annotated[
        str | None, option("name in trackers", off="the tracker's choice", example="a-name")
    ] = None
    seed: Annotated[int, option("seed of every random choice", owner="core", ge=0, on_resume="changes")] = 42
    data_seed: Annotated[
        int | None, option("seed of the order of samples; unset: seed", ge=0, on_resume="changes")
    ] = None
    logging_steps: Annotated[int, option("steps between metric lines", aliases=("log_interval",), ge=1)] = 1
    save_strategy: Annotated[
        Literal["no", "steps", "epoch", "best"],
        option("when checkpoints are written", source="transformers", example="epoch"),
    ] = "steps"
    save_steps: Annotated[
        int, option("steps between checkpoints", aliases=("save_interval",), ge=1, source="transformers")
    ] = 500
    save_total_limit: Annotated[
        int | None, option("checkpoints kept; older ones are removed", ge=1, off="all are kept")
    ] = None
    eval_strategy: Annotated[
        Strategy | Literal["auto"],
        option(
            "when held-out rows are evaluated; auto: every eval_steps where given, else each epoch, where "
            "there are any",
            example="steps",
        ),
    ] = "auto"
    eval_steps: Annotated[
        int | None,
        option("steps between evaluations; unset: logging_steps", aliases=("eval_interval",), ge=1),
    ] = None
    load_best_model_at_end: Annotated[
        bool, option("finish with the best checkpoint instead of the last", beside=_EACH_EPOCH, alone=True)
    ] = False
    metric_for_best_model: Annotated[
        str | None,
        option("metric that decides which is best", off="eval_loss", example="eval_loss", beside=_BEST),
    ] = None
    greater_is_better: Annotated[
        bool | None,
        option("whether that metric should grow", off="the library decides by its name", beside=_BEST),
    ] = None
    report_to: Annotated[
        list[str],
        option(
            "trackers: wandb, tensorboard, trackio, ...; none", aliases=("loggers",), example=["tensorboard"]
        ),
    ] = []  # noqa: RUF012 (pydantic copies it)
    callbacks: Annotated[list[Any], option("transformers TrainerCallback objects")] = []  # noqa: RUF012
    dataloader_num_workers: Annotated[int, option("loader processes; 0: none", ge=0)] = 0

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

    functions: Annotated[
        list[Any],
        option(
            "callables, names, package.module:function, reward models, or dicts {type, weight, params}",
            keyword="reward_functions",
            aliases=("rewards", "reward_funcs"),
            only="rewards",
            example=["length"],
        ),
    ] = []  # noqa: RUF012
    weights: Annotated[
        list[float] | None,
        option(
            "weight of each function",
            keyword="reward_function_weights",
            aliases=("reward_weights",),
            only="rewards",
            off="1 each",
            example=[0.5],
        ),
    ] = None
    model: Annotated[
        Any,
        option(
            "hub id or folder of a sequence-classification reward model, or one in memory",
            keyword="reward_model_name",
            aliases=("reward_model_path", "reward_model"),
            only="rewards",
            off="none",
            example="a-reward-model",
        ),
    ] = None

    @field_validator("functions", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return list(value) if isinstance(value, (list, tuple)) else [value]


class Config(Section):
    """One run, whole.

    Two are equal where all their fields are; where the values came from does not count.
    """

    algorithm: Annotated[
        str, option("sft, dpo, ... (see aligntune algorithms)", owner="core", on_resume="held")
    ]
    backend: Annotated[str, option("name of an installed backend, or auto", owner="core")] = "auto"
    isolation: Annotated[
        Literal["none", "process"], option("run the backend in a process of its own", owner="core")
    ] = "none"
    backend_options: Annotated[
        dict[str, Any], option("options that only this backend has", owner="core")
    ] = {}  # noqa: RUF012
    model: ModelConfig
    peft: Annotated[PeftConfig, option("the adapter", on_resume="held")] = PeftConfig()
    data: DataConfig
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()
    rewards: Annotated[RewardsConfig, option("what scores completions", on_resume="changes")] = (
        RewardsConfig()
    )
    parameters: Annotated[
        Any, option("the algorithm's own parameters", owner="core", on_resume="changes")
    ] = None

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _defaults: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def sources(self) -> dict[str, str]:
        """Config path -> where its value is from: "call", "file x.yaml:3", "default ...", "resolved: ..."."""
        return self._sources

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]  # holds lists and dicts
