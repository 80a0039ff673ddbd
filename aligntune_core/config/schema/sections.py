"""The configuration tree: every field with its type, range, unit, keyword and aliases.

Config paths are dotted attribute paths of ``Config`` (``"optim.learning_rate"``). What is still "auto" or, where
no ``off`` is stated, ``None`` after a call is read, ``aligntune_core.config.resolve.resolution`` fills in.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, PrivateAttr, SecretStr, field_validator

from aligntune_core.fields import Section, option, ours

Strategy = Literal["no", "steps", "epoch"]
AnySection = TypeVar("AnySection", bound=BaseModel)

# What the examples of some fields need beside them.
_FOUR_BIT = {"model.quantization.load_in_4bit": True}
_PROJECTIONS = ["q_proj", "v_proj"]
_EACH_EPOCH = {"run.save_strategy": "epoch", "run.eval_strategy": "epoch"}
_BEST = {"run.load_best_model_at_end": True, **_EACH_EPOCH}


class Quantization(Section):
    """Weight format of the frozen base (QLoRA, https://arxiv.org/abs/2305.14314)."""

    load_in_4bit: bool = option("4-bit weights", False)
    load_in_8bit: bool = option("8-bit weights", False)
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = option(
        "4-bit data type", "nf4", source="QLoRA paper", beside=_FOUR_BIT
    )
    bnb_4bit_use_double_quant: bool = option(
        "quantise the quantisation constants too", True, source="QLoRA paper", beside=_FOUR_BIT
    )
    bnb_4bit_compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "dtype of matrix products; auto follows precision", "auto", beside=_FOUR_BIT
    )

    @field_validator("bnb_4bit_compute_dtype", mode="before")
    @classmethod
    def _dtype_by_name(cls, value: Any) -> Any:
        name = str(value).removeprefix("torch.")
        return {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "None": "auto"}.get(name, name)


class ModelConfig(Section):
    """Which model, in which number format."""

    name: Any = ours(
        "hub id, local folder, adapter folder, or a model in memory",
        keyword="model_name",
        aliases=("model_name_or_path", "model"),
        on_resume="held",
    )
    tokenizer: Any = ours(
        "hub id or folder of the tokenizer, or a tokenizer in memory",
        None,
        keyword="tokenizer_name",
        aliases=("tokenizer_name_or_path", "tokenizer"),
        off="the model's own tokenizer",
    )
    chat_template: str | None = ours("Jinja chat template to use", None, off="the tokenizer's own")
    revision: str | None = option(
        "branch, tag or commit on the hub", None, off="the hub's default branch", example="a-branch"
    )
    token: SecretStr | None = option(
        "hub access token; never written out",
        None,
        secret=True,
        off="the hub login of this machine",
        example="hf_example",
    )
    trust_remote_code: bool = option("run the code that a model repository ships", False)
    device_map: str | dict[str, Any] | None = option(
        "placement of layers on devices", None, off="one device", example="auto"
    )
    attn_implementation: str | None = option(
        "attention kernel, e.g. sdpa, eager, flash_attention_2",
        None,
        off="the library's choice",
        example="eager",
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = option(
        "bf16: frozen weights bf16, trainable float32, bf16 autocast; fp32: float32 everywhere; "
        "auto: bf16 where the device has it, else fp32",
        "auto",
        on_resume="changes",
        example="bf16",
    )
    quantization: Quantization | None = option(
        "weight format of the frozen base", None, off="not quantised", on_resume="changes"
    )


class PeftConfig(Section):
    """LoRA (https://arxiv.org/abs/2106.09685) and its variants."""

    enabled: bool | None = option(
        "train a LoRA adapter; false: full fine-tuning; unset: LoRA",
        None,
        keyword="use_peft",
        aliases=("use_lora", "peft_enabled"),
        alone=True,
    )
    r: int = option("rank", 16, keyword="lora_r", aliases=("lora_rank",), ge=1)
    alpha: float = option(
        "scale numerator: the update is scaled by alpha / r", 32, keyword="lora_alpha", gt=0
    )
    dropout: float = option("dropout on the adapter's input, 0..1", 0.0, keyword="lora_dropout", ge=0, lt=1)
    target_modules: str | list[str] | None = option(
        "module names, a regex, or all-linear; unset: all-linear",
        None,
        keyword="lora_target_modules",
        aliases=("target_modules",),
        example=_PROJECTIONS,
    )
    bias: Literal["none", "all", "lora_only"] = option("which biases train", "none", keyword="lora_bias")
    use_rslora: bool = option("scale by alpha / sqrt(r) (https://arxiv.org/abs/2312.03732)", False)
    use_dora: bool = option("weight-decomposed LoRA (https://arxiv.org/abs/2402.09353)", False)
    modules_to_save: list[str] | None = option(
        "modules trained in full beside the adapter", None, off="none", example=["lm_head"]
    )
    layers_to_transform: list[int] | None = option(
        "layer indices that get an adapter",
        None,
        off="all layers",
        example=[0],
        beside={"peft.target_modules": _PROJECTIONS},
    )
    init: Literal["default", "gaussian", "pissa", "loftq"] = option(
        "initialisation: default (Kaiming A, zero B), gaussian, PiSSA (https://arxiv.org/abs/2404.02948) "
        "or LoftQ (https://arxiv.org/abs/2310.08659)",
        "default",
        keyword="lora_init",
        example="gaussian",
    )
    merge_adapter: bool = option(
        "model_name is an adapter folder: merge it into its base and train a fresh adapter", False
    )


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
