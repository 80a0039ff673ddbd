"""The child's side: builds the Trainer it is told to, calls its methods, streams events and log records back."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import cloudpickle

from aligntune_core.errors import WORKER_TRACEBACK, RunError
from aligntune_core.isolation.channel import Channel, Outbox

if TYPE_CHECKING:
    from aligntune_core.trainer import Trainer

CALLS = ("train", "evaluate", "save_model", "generate", "push_to_hub")


class _Forward(logging.Handler):
    """Log records go to the parent; also those of a signal handler."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        self._outbox.send("log", (record.levelno, record.getMessage()))


def portable(error: BaseException) -> tuple[BaseException, list[str]]:
    """The exception and its notes, the traceback among them; a RunError quotes one that cannot be pickled."""
    text = "".join(traceback.format_exception(error))
    try:
        sent = cloudpickle.loads(cloudpickle.dumps(error))
    except Exception as why:
        sent = RunError(f"{type(error).__name__}: {error} (the exception itself cannot be sent: {why})")
    # An exception with a __reduce__ of its own loses its notes on the way: they travel beside it.
    return sent, [*getattr(error, "__notes__", ()), f"{WORKER_TRACEBACK}\n{text}"]


def _commands(channel: Channel) -> queue.Queue[tuple[str, Any]]:
    """Read commands on a thread; when the parent is gone, however it ended, this process ends too."""
    commands: queue.Queue[tuple[str, Any]] = queue.Queue()

    def read() -> None:
        while True:
            try:
                commands.put(channel.receive())
            except (EOFError, OSError):
                os._exit(1)

    threading.Thread(target=read, daemon=True, name="aligntune-parent").start()
    return commands


def _create(config: Any, outbox: Outbox) -> Trainer:
    from aligntune_core.factory import build, plan

    planned = plan(config)
    trainer = build(planned)
    trainer.on_event = lambda event: outbox.send("event", dict(event))
    return trainer


def _described(trainer: Trainer) -> Mapping[str, Any]:
    from aligntune_core.isolation.payload import pack

    return {"config": pack(trainer.config), "effective": trainer.effective, "planned": dict(trainer.planned)}


def main(descriptor: int) -> None:
    """Serve until the parent closes the connection."""
    channel = Channel(descriptor)
    _, header = channel.receive()
    sys.path[:] = header["path"]
    logger = logging.getLogger("aligntune")
    logger.setLevel(header["log_level"])
    outbox = Outbox(channel)
    logger.addHandler(_Forward(outbox))
    commands = _commands(channel)
    trainer: Trainer | None = None
    while True:
        kind, value = commands.get()
        try:
            if kind == "create":
                trainer = _create(value, outbox)
                outbox.send("done", _described(trainer))
            elif kind in CALLS and trainer is not None:
                args, keywords = value
                outbox.send("done", getattr(trainer, kind)(*args, **keywords))
            else:
                raise RunError(f'the worker was asked for "{kind}"')
        except (Exception, KeyboardInterrupt) as error:
            outbox.send("failed", portable(error))
