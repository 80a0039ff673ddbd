"""The hooks of the Unsloth backend. Light: unsloth, and everything it patches, is imported inside ``prepare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core import BackendInfo, Support, hookimpl
from aligntune_unsloth.options import Options, cpu_by_environment
from aligntune_unsloth.table import HONOURS, refusal

if TYPE_CHECKING:
    from aligntune_core import Datasets, Engine, LoadedModel, Prepared, RunContext
    from aligntune_core.config import Config, ResolvedConfig


@hookimpl
def backend_info() -> BackendInfo:
    return BackendInfo(
        summary="Unsloth: TRL's trainers on patched models, for one GPU",
        honours=HONOURS,
        options=Options,
        devices=("cuda", "cpu") if cpu_by_environment() else ("cuda",),
        opt_in_devices=("cpu",),
        quantizations=("4bit",),
        import_first="unsloth",
        url="https://docs.unsloth.ai",
    )


@hookimpl
def supports_algorithm(algorithm: str) -> Support:
    reason = refusal(algorithm)
    return Support(reason is None, reason or "")


@hookimpl
def prepare(config: Config) -> Prepared:
    from aligntune_unsloth import prepare

    return prepare.prepare(config)


@hookimpl
def load_model(config: ResolvedConfig, prepared: Prepared) -> LoadedModel:
    from aligntune_unsloth import load

    return load.load(config, prepared)


@hookimpl
def apply_peft(loaded: LoadedModel, config: ResolvedConfig) -> LoadedModel:
    from aligntune_unsloth import load

    return load.adapt(loaded, config)


@hookimpl
def build_trainer(
    loaded: LoadedModel, config: ResolvedConfig, datasets: Datasets, run: RunContext
) -> Engine | None:
    from aligntune_unsloth import engine

    return engine.build(loaded, config, datasets, run)
