"""A rule of the house: no code from model repositories. It holds for every run, before anything is loaded."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from aligntune_core import hookimpl
from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from aligntune_core import Prepared
    from aligntune_core.config import Config


@hookimpl(wrapper=True)
def prepare(config: Config) -> Generator[None, Prepared, Prepared]:
    if config.model.trust_remote_code:
        raise ConfigError(
            "trust_remote_code=True: this house runs no code from model repositories (aligntune-house)"
        )
    return (yield)
