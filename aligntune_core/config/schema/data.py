"""The section that says where rows come from and what becomes of them."""

from __future__ import annotations

from math import inf
from typing import Any, Literal

from pydantic import field_validator

from aligntune_core.fields import Section, option, ours

MIXED = (
    "name",
    "weight",
    "split",
    "config_name",
    "column_mapping",
    "text_column",
    "system_prompt",
    "max_samples",
)


def entry_of_mixture(index: int, entry: dict[str, Any]) -> dict[str, Any]:
    """One entry of ``datasets``, under the names of our fields.

    Raises:
        ValueError: a key means nothing here, or a value is out of its range; names the entry.
    """
    where = f"[{index}]"
    others = {"dataset_name": "name", "path": "name", "count": "max_samples", "subset": "config_name"}
    made = {others.get(key, key): value for key, value in entry.items()}
    if len(made) < len(entry):
        raise ValueError(f"{where}: two keys mean the same: {', '.join(entry)}")
    strange = [key for key in made if key not in MIXED]
    if strange:
        raise ValueError(f"{where}: does not know {', '.join(strange)}. Known: {', '.join(MIXED)}")
    if made.get("name") is None:
        raise ValueError(f"{where}: has no name: a hub id, a local file or folder, or rows")
    weight, count = made.get("weight"), made.get("max_samples")
    if weight is not None and (
        isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < inf
    ):
        raise ValueError(f"{where}: weight={weight!r} must be a number above 0")
    if count is not None and (type(count) is not int or count < 1):
        raise ValueError(f"{where}: max_samples={count!r} must be a whole number of rows, 1 or more")
    return made


class DataConfig(Section):
    """Where rows come from and how they are read."""

    dataset: Any = ours(
        "hub id, local file or folder, datasets.Dataset, or a list of dicts",
        None,
        off="none, where datasets is given",
        keyword="dataset_name",
        aliases=("dataset", "train_dataset"),
        on_resume="changes",
    )
    datasets: list[dict[str, Any]] | None = ours(
        "several data sets in place of dataset_name, each with its name, its weight (share of the rows) or none, and "
        "split, config_name, column_mapping, text_column, system_prompt, max_samples or count of its own",
        None,
        aliases=("dataset_mixture",),
        on_resume="changes",
        off="one: dataset_name",
    )
    config_name: str | None = ours(
        "the dataset's configuration on the hub",
        None,
        aliases=("subset", "dataset_config_name", "dataset_config"),
        off="the only one",
        on_resume="changes",
    )
    split: str = ours(
        "split, with slices: train[:1%]",
        "train",
        aliases=("dataset_split", "train_split"),
        on_resume="changes",
    )
    eval_dataset: Any = ours(
        "held-out rows: as dataset_name", None, off="none, unless eval_split is given", on_resume="changes"
    )
    eval_split: str | None = ours(
        "held-out split of the same dataset, or of eval_dataset", None, off="none", on_resume="changes"
    )
    eval_share: float | None = ours(
        "share of the rows to hold out, drawn by data_seed: 0.05 is 5 of 100",
        None,
        gt=0,
        lt=1,
        off="none",
        on_resume="changes",
    )
    max_samples: int | None = ours("use the first N rows", None, ge=1, off="all rows", on_resume="changes")
    max_eval_samples: int | None = ours(
        "use the first N held-out rows", None, ge=1, off="all rows", on_resume="changes"
    )
    column_mapping: dict[str, str] | None = ours(
        "column -> role, or role -> column",
        None,
        aliases=("field_mappings",),
        off="columns are recognised by name",
        on_resume="changes",
    )
    text_column: str | None = ours(
        "column of plain text for language modelling",
        None,
        aliases=("dataset_text_field",),
        off="text, where there is no other known column",
        on_resume="changes",
    )
    unused_columns: Literal["warn", "ignore", "error"] | list[str] = ours(
        "columns that nobody reads: warn (an error where what is learnt would be another, e.g. images), ignore, error; "
        "or names of columns to leave out",
        "warn",
        on_resume="free",
    )
    rendered: bool = ours(
        "rows hold the chat template's marks already: they are taken as they are", False, on_resume="changes"
    )
    train_on: Literal["all", "last", "marked"] = ours(
        "replies of a conversation with loss: all but those of weight 0, the last, or those that rows mark",
        "all",
        only="supervised",
        on_resume="changes",
    )
    streaming: bool = ours("read rows as training goes; needs max_steps", False, on_resume="changes")
    on_bad_rows: Literal["error", "drop"] = ours(
        "what to do with rows that cannot be used", "error", on_resume="changes"
    )
    system_prompt: str | None = ours(
        "system message put before every conversation that has none", None, off="none", on_resume="changes"
    )
    num_proc: int | None = option(
        "processes for the library's tokenisation",
        None,
        keyword="dataset_num_proc",
        ge=1,
        off="one process",
        on_resume="free",
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
    padding_free: bool = option(
        "one flat sequence a batch instead of padding", False, only="offline", on_resume="free"
    )
    shuffle: bool = option(
        "each epoch in a seeded random order; false: in the order of the rows",
        True,
        only="offline",
        neutral=(True,),
        on_resume="changes",
    )
    group_by_length: bool = option("batch rows of similar length", False, only="offline", on_resume="changes")

    @field_validator("datasets")
    @classmethod
    def _entries(cls, entries: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        return (
            None
            if entries is None
            else [entry_of_mixture(index, entry) for index, entry in enumerate(entries)]
        )

    @field_validator("config_name", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # what YAML makes of a name like 2024

    @field_validator("eval_split", mode="before")
    @classmethod
    def _no_share(cls, value: Any) -> Any:
        if isinstance(value, float) and 0 < value < 1:
            raise ValueError(f"must name a split, not a share: eval_share={value:g}")
        return value
