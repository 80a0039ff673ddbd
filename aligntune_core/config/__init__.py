"""One run's configuration: the tree, reading it, resolving it, writing it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.config.keywords import keyword_of
    from aligntune_core.config.read.build import paths
    from aligntune_core.config.read.load import load_config, resolve_config
    from aligntune_core.config.record import changed, covers, in_memory, plain, written
    from aligntune_core.config.schema.sections import Config

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Config": "aligntune_core.config.schema.sections",
        "changed": "aligntune_core.config.record",
        "covers": "aligntune_core.config.record",
        "in_memory": "aligntune_core.config.record",
        "keyword_of": "aligntune_core.config.keywords",
        "load_config": "aligntune_core.config.read.load",
        "paths": "aligntune_core.config.read.build",
        "plain": "aligntune_core.config.record",
        "resolve_config": "aligntune_core.config.read.load",
        "written": "aligntune_core.config.record",
    },
)

__all__ = [
    "Config",
    "changed",
    "covers",
    "in_memory",
    "keyword_of",
    "load_config",
    "paths",
    "plain",
    "resolve_config",
    "written",
]
