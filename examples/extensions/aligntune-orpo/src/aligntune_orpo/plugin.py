"""What the trl backend needs to train ORPO: a recipe, and the word that it is trained; the rest is the backend's."""

from __future__ import annotations

from aligntune_core import Support, hookimpl
from aligntune_trl.api import Recipe, register

register(
    Recipe(
        name="orpo",
        arguments="trl.experimental.orpo:ORPOConfig",
        trainer="trl.experimental.orpo:ORPOTrainer",
        fixed={"remove_unused_columns": False},
    )
)


@hookimpl
def supports_algorithm(algorithm: str) -> Support | None:
    return Support(True) if algorithm == "orpo" else None
