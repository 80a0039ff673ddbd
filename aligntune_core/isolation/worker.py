"""The child's side: builds the Trainer it is told to, calls its methods, streams events and log records back."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aligntune_core.errors import RunError
from aligntune_core.isolation.answers import failure, parcel, plain
from aligntune_core.isolation.channel import Channel, Outbox
from aligntune_core.isolation.payload import opened, pack

if TYPE_CHECKING:
    from aligntune_core.trainer import Trainer

CALLS = ("train", "evaluate", "save_model", "generate", "push_to_hub")


class _Forward(logging.Handler):
    """Log records go to the parent; also those of a signal handler."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        self._outbox.send("log", plain((record.levelno, record.getMessage())))


def _commands(channel: Channel) -> queue.Queue[tuple[str, bytes]]:
    """Read commands on a thread, unopened; when the parent is gone, however it ended, this process ends too."""
    commands: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def read() -> None:
        try:
            while True:
                commands.put(channel.receive())
        except (EOFError, OSError):
            pass  # the parent is gone
        finally:
            os._exit(1)

    threading.Thread(target=read, daemon=True, name="aligntune-parent").start()
    return commands


def _create(config: Any, outbox: Outbox) -> Trainer:
    from aligntune_core.factory import build, plan

    planned = plan(config)
    trainer = build(planned)
    trainer.on_event = lambda event: outbox.send("event", plain(dict(event)))
    return trainer


def _described(trainer: Trainer) -> Mapping[str, Any]:
    return {
        "config": pack(trainer.config),
        "effective": {path: parcel(value) for path, value in trainer.effective.items()},
        "planned": {path: parcel(value) for path, value in trainer.planned.items()},
    }


class _Service:
    """Answers one command after the other; holds the Trainer."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._trainer: Trainer | None = None

    def answer(self, kind: str, content: bytes) -> bytes:
        """The pickled answer to a command."""
        value = opened(content, f"the arguments of {kind}()")
        if kind == "create":
            self._trainer = _create(value, self._outbox)
            return plain(_described(self._trainer))
        if kind not in CALLS or self._trainer is None:
            raise RunError(f'the worker was asked for "{kind}"')
        args, keywords = value
        return plain(getattr(self._trainer, kind)(*args, **keywords))


def main(descriptor: int) -> None:
    """Serve until the parent closes the connection."""
    channel = Channel(descriptor)
    _, content = channel.receive()
    header = opened(content, "the header")
    sys.path[:] = header["path"]
    logger = logging.getLogger("aligntune")
    logger.setLevel(header["log_level"])
    outbox = Outbox(channel)
    logger.addHandler(_Forward(outbox))
    commands, service = _commands(channel), _Service(outbox)
    while True:
        try:
            kind, content = commands.get()
        except KeyboardInterrupt:
            continue  # it was meant for a run that has just ended
        try:
            outbox.send("done", service.answer(kind, content))
        except (Exception, KeyboardInterrupt) as error:
            outbox.send("failed", plain(failure(error)))
