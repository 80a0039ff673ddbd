"""The algorithms this plugin trains: one line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Where an algorithm's parts are.

    Attributes:
        arguments: name of TRL's argument class.
        module: our module whose ``build(loaded, config, datasets, run)`` returns the engine.
    """

    arguments: str
    module: str


RECIPES: dict[str, Recipe] = {
    "sft": Recipe("SFTConfig", "aligntune_trl.sft"),
    "dpo": Recipe("DPOConfig", "aligntune_trl.dpo"),
}
