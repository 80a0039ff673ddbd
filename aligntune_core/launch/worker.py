"""What a worker process serves: the Trainer that it is told to build; events and log records go back meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aligntune_core.config.payload import pack
from aligntune_core.errors import RunError
from aligntune_core.launch.answers import parcel
from aligntune_core.launch.service import send

if TYPE_CHECKING:
    from aligntune_core.config import Config
    from aligntune_core.pipeline.trainer import Trainer

CALLS = ("train", "evaluate", "save_model", "generate", "push_to_hub")


class _Forward(logging.Handler):
    """Log records go to the parent; also those of a signal handler."""

    def emit(self, record: logging.LogRecord) -> None:
        send("log", (record.levelno, "%s", record.getMessage()))


class TrainerService:
    """Builds one Trainer; then its methods, as far as their answers can travel.

    Args:
        log_level: of the parent's logger.
    """

    def __init__(self, log_level: int) -> None:
        logger = logging.getLogger("aligntune")
        logger.setLevel(log_level)
        logger.addHandler(_Forward())
        self._trainer: Trainer | None = None

    def create(self, config: Config) -> Mapping[str, Any]:
        """Build it, and say what it is: its configuration, and the values planned and in force, as parcels."""
        from aligntune_core.pipeline.build import build
        from aligntune_core.pipeline.plan import plan

        trainer = self._trainer = build(plan(config))
        trainer.on_event = lambda event: send("event", dict(event))
        return {
            "config": pack(trainer.config),
            "effective": {path: parcel(value) for path, value in trainer.effective.items()},
            "planned": {path: parcel(value) for path, value in trainer.planned.items()},
        }

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS or self._trainer is None:
            raise RunError(f'the worker was asked for "{name}"')
        return getattr(self._trainer, name)
