"""One run's configuration: the tree, reading it, resolving it, writing it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.config.build import paths
    from aligntune_core.config.describe import schema
    from aligntune_core.config.dump import covers, given, in_memory, plain, written
    from aligntune_core.config.keywords import keyword_of
    from aligntune_core.config.load import load_config, resolve_config
    from aligntune_core.config.resolution import ResolvedConfig, resolve, resolve_steps
    from aligntune_core.config.tree import Config

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Config": "aligntune_core.config.tree",
        "ResolvedConfig": "aligntune_core.config.resolution",
        "covers": "aligntune_core.config.dump",
        "given": "aligntune_core.config.dump",
        "in_memory": "aligntune_core.config.dump",
        "keyword_of": "aligntune_core.config.keywords",
        "load_config": "aligntune_core.config.load",
        "paths": "aligntune_core.config.build",
        "plain": "aligntune_core.config.dump",
        "resolve": "aligntune_core.config.resolution",
        "resolve_config": "aligntune_core.config.load",
        "resolve_steps": "aligntune_core.config.resolution",
        "schema": "aligntune_core.config.describe",
        "written": "aligntune_core.config.dump",
    },
)

__all__ = [
    "Config",
    "ResolvedConfig",
    "covers",
    "given",
    "in_memory",
    "keyword_of",
    "load_config",
    "paths",
    "plain",
    "resolve",
    "resolve_config",
    "resolve_steps",
    "schema",
    "written",
]
