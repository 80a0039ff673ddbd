"""The hooks of the TRL backend. Light: torch, transformers and trl are imported inside the functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aligntune_core import BackendInfo, Support, hookimpl
from aligntune_trl.algorithms import recipe
from aligntune_trl.table import HONOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aligntune_core import Config, Datasets, Engine, LoadedModel, Prepared, RowTokens, RunContext
    from aligntune_core.types import LossOn


@hookimpl
def backend_info() -> BackendInfo:
    return BackendInfo(
        summary="Hugging Face TRL: runs anywhere PyTorch does",
        honours=HONOURS,
        devices=("cpu", "cuda"),
        quantizations=("4bit",),
        strategies=("single", "ddp"),
        generators=("transformers", "vllm"),
        priority=10,
        forbids=("unsloth",),
        url="https://huggingface.co/docs/trl",
    )


@hookimpl
def supports_algorithm(algorithm: str) -> Support:
    if algorithm in recipe.names():
        return Support(True)
    return Support(False, f"this version trains {' and '.join(recipe.names())}")


@hookimpl
def problems(config: Config) -> Sequence[str]:
    from aligntune_trl import problems as stage

    return stage.problems(config)


@hookimpl
def prepare(config: Config) -> Prepared:
    from aligntune_trl import prepare as stage

    return stage.prepare(config)


@hookimpl
def planned(config: Config, prepared: Prepared) -> Mapping[str, Any]:
    from aligntune_trl import prepare as stage

    return stage.planned(config, prepared)


@hookimpl
def remarks(config: Config, prepared: Prepared) -> Sequence[str]:
    from aligntune_trl import prepare as stage

    return stage.remarks(config, prepared)


@hookimpl
def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, prepared: Prepared
) -> Sequence[RowTokens]:
    from aligntune_trl import rows as stage

    return stage.tokenize(rows, loss, config, prepared)


@hookimpl
def load_model(config: Config, prepared: Prepared) -> LoadedModel:
    from aligntune_trl.model import load

    return load.load(config, prepared)


@hookimpl
def apply_peft(loaded: LoadedModel, config: Config) -> LoadedModel:
    from aligntune_trl.model import adapter

    return adapter.apply(loaded, config)


@hookimpl
def build_trainer(
    loaded: LoadedModel, config: Config, datasets: Datasets, prepared: Prepared, run: RunContext
) -> Engine | None:
    if recipe.find(config.algorithm) is None:
        return None  # an extension answers for its own algorithms
    from aligntune_core.toolkit import check_positions
    from aligntune_trl import trainer

    check_positions(loaded.model, config, datasets.report)
    engine = trainer.built(loaded, config, datasets, prepared, run)
    if config.data.packing and config.data.packing_strategy != "wrapped":  # "wrapped" cuts and joins rows
        from aligntune_trl.model import packing

        packing.check(engine.model)
    return engine
