"""The hooks. Light: torch is imported inside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aligntune_core import BackendInfo, Support, hookimpl
from aligntune_torch.algorithms import PARAMETERS
from aligntune_torch.table import HONOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aligntune_core import Config, Datasets, Engine, LoadedModel, Prepared, RowTokens, RunContext
    from aligntune_core.types import LossOn


@hookimpl
def backend_info() -> BackendInfo:
    return BackendInfo(
        summary="plain PyTorch, written to be read: SFT and DPO",
        honours=HONOURS,
        devices=("cpu", "cuda"),
        forbids=("unsloth",),
    )


@hookimpl
def supports_algorithm(algorithm: str) -> Support:
    if algorithm in PARAMETERS:
        return Support(True)
    return Support(False, f"aligntune-torch trains {' and '.join(PARAMETERS)} only")


@hookimpl
def problems(config: Config) -> list[str]:
    from aligntune_torch import refuse

    return list(refuse.problems(config))


@hookimpl
def prepare(config: Config) -> Prepared:
    from aligntune_torch import prepare

    return prepare.prepare(config)


@hookimpl
def planned(config: Config, prepared: Prepared) -> Mapping[str, Any]:
    from aligntune_torch import prepare as stage

    return stage.planned(config, prepared)


@hookimpl
def remarks(config: Config, prepared: Prepared) -> Sequence[str]:
    from aligntune_torch import prepare as stage

    return stage.remarks(config, prepared)


@hookimpl
def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, prepared: Prepared
) -> Sequence[RowTokens]:
    from aligntune_torch import rows as stage

    return stage.tokenize(rows, loss, config, prepared.tokenizer)


@hookimpl
def load_model(config: Config, prepared: Prepared) -> LoadedModel:
    from aligntune_torch import load

    return load.load(config, prepared)


@hookimpl
def apply_peft(loaded: LoadedModel, config: Config) -> LoadedModel:
    from aligntune_torch import load

    return load.wrap(loaded, config)


@hookimpl
def build_trainer(
    loaded: LoadedModel, config: Config, datasets: Datasets, prepared: Prepared, run: RunContext
) -> Engine:
    from aligntune_core.toolkit import check_positions
    from aligntune_torch import engine

    check_positions(loaded.model, config, datasets.report)
    return engine.Engine(loaded, config, datasets, run)
