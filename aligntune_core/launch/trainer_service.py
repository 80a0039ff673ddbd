"""The object that a worker process serves: one Trainer, whose events and log records go back as they come."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aligntune_core.config.payload import pack
from aligntune_core.errors import RunError
from aligntune_core.launch.answers import value_with_text
from aligntune_core.launch.service import send

if TYPE_CHECKING:
    from aligntune_core.config import Config
    from aligntune_core.pipeline.trainer import Trainer

CALLS = ("train", "evaluate", "save_model", "generate", "push_to_hub")


class _Forward(logging.Handler):
    """Sends log records to the parent, those of a signal handler too."""

    def emit(self, record: logging.LogRecord) -> None:
        send("log", (record.levelno, "%s", record.getMessage()))


class TrainerService:
    """Builds one Trainer, at the parent's log level, and offers those of its methods whose answers can travel."""

    def __init__(self, log_level: int) -> None:
        logger = logging.getLogger("aligntune")
        logger.setLevel(log_level)
        logger.addHandler(_Forward())
        self._trainer: Trainer | None = None

    def create(self, config: Config) -> Mapping[str, Any]:
        """Build it, and return its configuration with the values planned and in force, each with its text."""
        from aligntune_core.pipeline.build import build
        from aligntune_core.pipeline.plan import plan

        trainer = self._trainer = build(plan(config))
        trainer.on_event = lambda event: send("event", dict(event))
        return {
            "config": pack(trainer.config),
            "effective": {path: value_with_text(value) for path, value in trainer.effective.items()},
            "planned": {path: value_with_text(value) for path, value in trainer.planned.items()},
        }

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS or self._trainer is None:
            raise RunError(f'the worker was asked for "{name}"')
        return getattr(self._trainer, name)
