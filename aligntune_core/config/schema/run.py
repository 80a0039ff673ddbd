"""The section that says what a run writes and when: folder, seed, metrics, checkpoints, evaluations."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal

from pydantic import field_validator

from aligntune_core.fields import Section, option, ours

Strategy = Literal["no", "steps", "epoch"]

# What the examples of some fields need beside them.
_EACH_EPOCH = {"run.save_strategy": "epoch", "run.eval_strategy": "epoch"}
_HELD_OUT = {"run.eval_strategy": "epoch"}
_BEST = {"run.load_best_model_at_end": True, **_EACH_EPOCH}


class RunConfig(Section):
    """The run: folder, seed, logging, checkpoints, evaluation."""

    output_dir: str | None = ours(
        "run folder; unset: aligntune_output/ALGORITHM-MODEL below the current directory",
        None,
        on_resume="free",
    )
    run_name: str | None = option(
        "name in trackers", None, off="the tracker's choice", example="a-name", on_resume="free"
    )
    seed: int = ours("seed of every random choice", 42, ge=0, on_resume="changes")
    data_seed: int | None = option(
        "seed of the order of samples; unset: seed", None, ge=0, on_resume="changes"
    )
    logging_steps: int = option(
        "steps between metric lines", 1, aliases=("log_interval",), ge=1, on_resume="free"
    )
    logging_first_step: bool = option("a metric line of the first step too", False, on_resume="free")
    save_strategy: Literal["no", "steps", "epoch", "best"] = option(
        "when checkpoints are written", "steps", source="transformers", example="epoch", on_resume="free"
    )
    save_steps: int | float = option(
        "steps between checkpoints; below 1: a share of all steps",
        500,
        aliases=("save_interval",),
        gt=0,
        source="transformers",
        on_resume="free",
    )
    saves_per_epoch: int | None = ours(
        "checkpoints an epoch, evenly spread; counts before save_steps",
        None,
        ge=1,
        off="save_steps decides",
        through="run.save_steps",
        on_resume="free",
    )
    save_only_model: bool = option(
        "checkpoints hold the weights without the optimiser: smaller, but no run can be resumed from them",
        False,
        on_resume="free",
    )
    save_total_limit: int | None = option(
        "checkpoints kept; older ones are removed", None, ge=1, off="all are kept", on_resume="free"
    )
    eval_strategy: Strategy | Literal["auto"] = option(
        "when held-out rows are evaluated; auto: every eval_steps where given, else each epoch, where "
        "there are any",
        "auto",
        example="steps",
        on_resume="changes",
    )
    eval_steps: int | float | None = option(
        "steps between evaluations; below 1: a share of all steps; unset: logging_steps",
        None,
        aliases=("eval_interval",),
        gt=0,
        on_resume="changes",
    )
    evals_per_epoch: int | None = ours(
        "evaluations an epoch, evenly spread; counts before eval_steps",
        None,
        ge=1,
        off="eval_steps decides",
        through="run.eval_steps",
        on_resume="changes",
    )
    eval_on_start: bool = option(
        "evaluate before the first step too", False, beside=_HELD_OUT, on_resume="free"
    )
    early_stopping_patience: int | None = option(
        "end the run after this many evaluations in a row without a better metric_for_best_model",
        None,
        aliases=("early_stopping_steps", "early_stop_interval"),
        ge=1,
        off="no early stopping",
        on_resume="changes",
        beside=_HELD_OUT,
    )
    early_stopping_threshold: float = option(
        "by how much the metric has to be better to count",
        0.0,
        ge=0,
        source="transformers",
        on_resume="changes",
        beside={"run.early_stopping_patience": 2, **_HELD_OUT},
    )
    load_best_model_at_end: bool = option(
        "finish with the best checkpoint instead of the last",
        False,
        beside=_EACH_EPOCH,
        alone=True,
        on_resume="changes",
    )
    metric_for_best_model: str | None = option(
        "metric that decides which is best",
        None,
        off="eval_loss",
        example="eval_loss",
        beside=_BEST,
        on_resume="changes",
    )
    greater_is_better: bool | None = option(
        "whether that metric should grow",
        None,
        off="the library decides by its name",
        beside=_BEST,
        on_resume="changes",
    )
    report_to: list[str] = option(
        "trackers: wandb, tensorboard, trackio, ...; none",
        [],
        aliases=("loggers",),
        example=["tensorboard"],
        on_resume="free",
    )
    callbacks: list[Any] = option("transformers TrainerCallback objects", [], on_resume="free")
    dataloader_num_workers: int = option("loader processes; 0: none", 0, ge=0, on_resume="free")
    ddp_timeout: int = option(
        "seconds that a process waits for the others before it gives up",
        1800,
        ge=1,
        source="transformers",
        on_resume="free",
    )
    push_to_hub: bool = ours(
        "upload the result to the Hugging Face hub when training is over", False, on_resume="free"
    )
    hub_model_id: str | None = ours(
        "repository of push_to_hub: owner/name, or a name among your own",
        None,
        off="the run folder's name",
        on_resume="free",
    )
    hub_private: bool = ours(
        "whether push_to_hub makes a new repository private",
        True,
        aliases=("hub_private_repo",),
        on_resume="free",
    )

    @field_validator("output_dir", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, PathLike) else value

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        return [n for n in names if n != "none"] if isinstance(names, (list, tuple)) else names

    @field_validator("save_steps", "eval_steps")
    @classmethod
    def _share_or_number(cls, value: int | float | None) -> int | float | None:
        if value is None or value < 1:
            return value
        if value != int(value):
            raise ValueError("must be a whole number of steps, or a share of all steps below 1")
        return int(value)
