"""What extensions of this backend, and backends that build on it, may import; nothing else of it is promised. Light.

- an algorithm: ``Recipe`` says what TRL has for it, ``register`` makes it known; planning, arguments, figures and
  engine are then as for our own
- arguments: ``write``, ``read`` and ``rows`` of the table, ``training_arguments``
- a run: ``prepare``, ``planned``, ``remarks``, ``tokenize``, ``build``, ``State``, ``Source``, ``TrlEngine``,
  ``problems`` (of the configuration alone)
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
    from aligntune_trl.prepare import planned, prepare, remarks
    from aligntune_trl.problems import shared as problems
    from aligntune_trl.quiet import known_warnings_hidden, no_bars
    from aligntune_trl.state import State
    from aligntune_trl.trainer import built as build

# Imported when first asked for, since listings need none of them: name -> "module:name".
_LATER = {
    "apply_adapter": "model.adapter:apply",
    "build": "trainer:built",
    "build_rewards": "online.rewards_bridge:build",
    "problems": "problems:shared",
    "tokenize": "rows:tokenize",
    **{name: f"model.adapter:{name}" for name in ("float32_kept", "frozen_policy")},
    **{name: f"model.load:{name}" for name in ("base_dtype", "merged", "quantization_config")},
    **{name: f"model.source:{name}" for name in ("Source", "continued", "hub_arguments")},
    **{name: f"prepare:{name}" for name in ("planned", "prepare", "remarks")},
    **{name: f"quiet:{name}" for name in ("known_warnings_hidden", "no_bars")},
    "State": "state:State",
    "TrlEngine": "engine:TrlEngine",
    "scores": "model.reward_head:scores",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return imported(f"aligntune_trl.{_LATER[name]}")
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
    "remarks",
    "rows",
    "scores",
    "training_arguments",
    "write",
]
