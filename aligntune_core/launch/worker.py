"""The child's side: builds the Trainer it is told to, calls its methods, streams events and log records back."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aligntune_core.errors import RunError
from aligntune_core.launch.answers import failure, parcel, plain
from aligntune_core.launch.channel import Channel, Outbox
from aligntune_core.launch.payload import pack, read

if TYPE_CHECKING:
    from aligntune_core.pipeline.trainer import Trainer

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

    def listen() -> None:
        try:
            while True:
                commands.put(channel.receive())
        except (EOFError, OSError):
            pass  # the parent is gone
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)

    threading.Thread(target=listen, daemon=True, name="aligntune-parent").start()
    return commands


def _create(config: Any, outbox: Outbox) -> Trainer:
    from aligntune_core.pipeline.build import build
    from aligntune_core.pipeline.plan import plan

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
        self._busy = False
        self._process = os.getpid()

    def interrupt(self, *_: Any) -> None:
        """On SIGINT outside of a run's own handling; one that comes when all is done is for nobody."""
        if self._busy:
            raise KeyboardInterrupt

    def answer(self, kind: str, content: bytes) -> tuple[str, bytes]:
        """What to send back for a command."""
        self._busy = True
        try:
            return "done", plain(self._result(kind, content))
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if isinstance(error, SystemExit) and os.getpid() != self._process:
                raise  # a fork of this process ends itself, and answers nobody
            return "failed", plain(failure(error))
        finally:
            self._busy = False

    def _result(self, kind: str, content: bytes) -> Any:
        value = read(content, f"the arguments of {kind}()")
        if kind == "create":
            self._trainer = _create(value, self._outbox)
            return _described(self._trainer)
        if kind not in CALLS or self._trainer is None:
            raise RunError(f'the worker was asked for "{kind}"')
        args, keywords = value
        return getattr(self._trainer, kind)(*args, **keywords)


def main(descriptor: int) -> None:
    """Serve until the parent closes the connection."""
    channel = Channel(descriptor)
    _, content = channel.receive()
    header = read(content, "the header")
    sys.path[:] = header["path"]
    logger = logging.getLogger("aligntune")
    logger.setLevel(header["log_level"])
    outbox = Outbox(channel)
    logger.addHandler(_Forward(outbox))
    commands, service = _commands(channel), _Service(outbox)
    signal.signal(signal.SIGINT, service.interrupt)
    while True:
        outbox.send(*service.answer(*commands.get()))
