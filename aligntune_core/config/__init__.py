"""One run's configuration: the tree, reading it, resolving it, writing it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.config.keywords import keyword_of
    from aligntune_core.config.read.build import load_config, paths, resolve_config
    from aligntune_core.config.record import changed, covers, in_memory, plain, written
    from aligntune_core.config.schema.sections import Config

__getattr__, __dir__ = lazy(__name__)

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
