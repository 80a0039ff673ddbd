"""The hooks. Each answers for ORPO and returns None otherwise: "not mine", so that the trl backend is asked next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core import Support, hookimpl

if TYPE_CHECKING:
    from aligntune_core import Config, Datasets, Engine, LoadedModel, Prepared, RunContext


@hookimpl
def supports_algorithm(algorithm: str) -> Support | None:
    return Support(True) if algorithm == "orpo" else None


@hookimpl
def build_trainer(
    loaded: LoadedModel, config: Config, datasets: Datasets, prepared: Prepared, run: RunContext
) -> Engine | None:
    if config.algorithm != "orpo":
        return None
    from aligntune_orpo import trainer

    return trainer.build(loaded, config, datasets, prepared, run)
