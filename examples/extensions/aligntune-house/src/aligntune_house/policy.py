"""A rule of the house: no code from model repositories. It holds for every run, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core import hookimpl

if TYPE_CHECKING:
    from aligntune_core import Config


@hookimpl
def problems(config: Config) -> list[str]:
    if config.model.trust_remote_code:
        return ["trust_remote_code=True: this house runs no code from model repositories (aligntune-house)"]
    return []
