"""What extensions of this backend, and backends that build on it, may import; nothing else of it is promised. Light.

- an algorithm: ``Recipe`` says what TRL has for it, ``register`` makes it known; planning, arguments, figures and
  engine are then as for our own
- arguments: ``write``, ``read`` and ``rows`` of the table, ``training_arguments``
- a run: ``prepare``, ``planned``, ``build``, ``State``, ``Source``, ``TrlEngine``, ``problems`` (of the
  configuration alone)
- weights: ``apply_adapter``, ``merged``, ``continued``, ``base_dtype``, ``quantization_config``, ``hub_arguments``,
  ``float32_kept``, ``frozen_policy``, ``scores``
- peace: ``known_warnings_hidden``, ``no_bars``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aligntune_trl.algorithms.recipe import Figure, Recipe, imported, names, register
from aligntune_trl.table import HONOURS, TABLE, read, rows, training_arguments, write

if TYPE_CHECKING:
    from aligntune_trl.engine import TrlEngine
    from aligntune_trl.model.adapter import apply as apply_adapter
    from aligntune_trl.model.adapter import float32_kept, frozen_policy
    from aligntune_trl.model.load import base_dtype, merged, quantization_config
    from aligntune_trl.model.reward_head import scores
    from aligntune_trl.model.source import Source, continued, hub_arguments
    from aligntune_trl.online.rewards_bridge import build as build_rewards
    from aligntune_trl.prepare import planned, prepare
    from aligntune_trl.problems import shared as problems
    from aligntune_trl.quiet import known_warnings_hidden, no_bars
    from aligntune_trl.state import State
    from aligntune_trl.trainer import built as build

# Imported when first asked for: they are not needed for listings.
_LATER = {
    "Source": "aligntune_trl.model.source:Source",
    "State": "aligntune_trl.state:State",
    "TrlEngine": "aligntune_trl.engine:TrlEngine",
    "apply_adapter": "aligntune_trl.model.adapter:apply",
    "base_dtype": "aligntune_trl.model.load:base_dtype",
    "build": "aligntune_trl.trainer:built",
    "build_rewards": "aligntune_trl.online.rewards_bridge:build",
    "continued": "aligntune_trl.model.source:continued",
    "float32_kept": "aligntune_trl.model.adapter:float32_kept",
    "frozen_policy": "aligntune_trl.model.adapter:frozen_policy",
    "hub_arguments": "aligntune_trl.model.source:hub_arguments",
    "known_warnings_hidden": "aligntune_trl.quiet:known_warnings_hidden",
    "merged": "aligntune_trl.model.load:merged",
    "no_bars": "aligntune_trl.quiet:no_bars",
    "planned": "aligntune_trl.prepare:planned",
    "prepare": "aligntune_trl.prepare:prepare",
    "problems": "aligntune_trl.problems:shared",
    "quantization_config": "aligntune_trl.model.load:quantization_config",
    "scores": "aligntune_trl.model.reward_head:scores",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return imported(_LATER[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "HONOURS",
    "TABLE",
    "Figure",
    "Recipe",
    "Source",
    "State",
    "TrlEngine",
    "apply_adapter",
    "base_dtype",
    "build",
    "build_rewards",
    "continued",
    "float32_kept",
    "frozen_policy",
    "hub_arguments",
    "known_warnings_hidden",
    "merged",
    "names",
    "no_bars",
    "planned",
    "prepare",
    "problems",
    "quantization_config",
    "read",
    "register",
    "rows",
    "scores",
    "training_arguments",
    "write",
]
