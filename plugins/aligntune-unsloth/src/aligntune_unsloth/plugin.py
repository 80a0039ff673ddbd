"""The hooks of the Unsloth backend. Light: unsloth, and everything it patches, is imported inside ``prepare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aligntune_core import BackendInfo, Support, hookimpl
from aligntune_unsloth.algorithms import refusal
from aligntune_unsloth.options import Options, cpu_by_environment
from aligntune_unsloth.table import HONOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aligntune_core import Config, Datasets, Engine, LoadedModel, Prepared, RowTokens, RunContext
    from aligntune_core.types import LossOn


@hookimpl
def backend_info() -> BackendInfo:
    return BackendInfo(
        summary="Unsloth: TRL's trainers on patched models, for one GPU",
        honours=HONOURS,
        options=Options,
        devices=("cuda", "cpu") if cpu_by_environment() else ("cuda",),
        opt_in_devices=("cpu",),
        quantizations=("4bit",),
        priority=20,
        import_first="unsloth",
        url="https://docs.unsloth.ai",
    )


@hookimpl
def supports_algorithm(algorithm: str) -> Support:
    reason = refusal(algorithm)
    return Support(reason is None, reason or "")


@hookimpl
def problems(config: Config) -> Sequence[str]:
    from aligntune_unsloth import refuse

    return refuse.problems(config)


@hookimpl
def prepare(config: Config) -> Prepared:
    from aligntune_unsloth import prepare

    return prepare.prepare(config)


@hookimpl
def planned(config: Config, prepared: Prepared) -> Mapping[str, Any]:
    from aligntune_unsloth import prepare as stage

    return stage.planned(config, prepared)


@hookimpl
def remarks(config: Config, prepared: Prepared) -> Sequence[str]:
    from aligntune_trl import api

    return api.remarks(config, prepared)


@hookimpl
def tokenize(
    rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, prepared: Prepared
) -> Sequence[RowTokens]:
    from dataclasses import replace

    from aligntune_trl import api

    # Its own preparation of rows stands in for TRL's, and starts from their text.
    return [replace(row, columns=None) for row in api.tokenize(rows, loss, config, prepared)]


@hookimpl
def load_model(config: Config, prepared: Prepared) -> LoadedModel:
    from aligntune_unsloth import load

    return load.load(config, prepared)


@hookimpl
def apply_peft(loaded: LoadedModel, config: Config) -> LoadedModel:
    from aligntune_unsloth import load

    return load.adapt(loaded, config)


@hookimpl
def build_trainer(
    loaded: LoadedModel, config: Config, datasets: Datasets, prepared: Prepared, run: RunContext
) -> Engine | None:
    from aligntune_unsloth import engine

    return engine.build(loaded, config, datasets, prepared, run)
