"""The child's side: make the object that the parent names, and answer calls of its methods.

The process ends when its parent does, however that ended.
"""

from __future__ import annotations

import importlib
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from operator import attrgetter
from typing import Any

from aligntune_core.config.payload import read
from aligntune_core.launch.answers import failure, plain


class Outbox:
    """Sends in the background, in order. Safe in a signal handler, which may have interrupted a ``send`` half way."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._waiting: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="aligntune-outbox")
        self._thread.start()

    def send(self, kind: str, content: bytes) -> None:
        """Send one message, some time soon."""
        self._waiting.put((kind, content))

    def close(self) -> None:
        """Wait until everything is sent."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            try:
                self._channel.send(message)
            except OSError:  # the other side is gone, which the receiving thread notices
                return


_outbox: list[Outbox] = []
"""Holds this process's outbox, once it serves."""


def send(kind: str, value: Any) -> None:
    """Send the parent something beside the answer: an "event", or a "log" record. Safe in a signal handler."""
    _outbox[0].send(kind, plain(value))


def serve(descriptor: int) -> None:
    """Answer calls on the inherited socket until the parent closes the connection; this process ends with it."""
    channel = Connection(descriptor)
    path, target, arguments = read(channel.recv()[1], "the header")
    sys.path[:] = path
    _outbox.append(Outbox(channel))
    calls, service = _calls(channel), _Service(target, arguments)
    signal.signal(signal.SIGINT, service.interrupt)
    while True:
        _outbox[0].send(*service.answer(*calls.get()))


def _calls(channel: Connection) -> queue.Queue[tuple[str, bytes]]:
    """Receive calls on a thread, unopened, so that the parent's end is noticed whatever this process is doing."""
    calls: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def listen() -> None:
        try:
            while True:
                calls.put(channel.recv())
        except (EOFError, OSError):
            pass  # the parent is gone
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)

    threading.Thread(target=listen, daemon=True, name="aligntune-parent").start()
    return calls


class _Service:
    """Answers one call after the other; the object, as ``Child`` takes it, is made at the first."""

    def __init__(self, target: str, arguments: Sequence[Any]) -> None:
        self._target, self._arguments = target, arguments
        self._object: Any = None
        self._busy = False
        self._process = os.getpid()

    def interrupt(self, *_: Any) -> None:
        """Handle SIGINT outside of a run: interrupt the call at work; where there is none, do nothing."""
        if self._busy:
            raise KeyboardInterrupt

    def answer(self, method: str, content: bytes) -> tuple[str, bytes]:
        """Run one call and return what to send back."""
        self._busy = True
        try:
            return "done", plain(self._result(method, content))
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if isinstance(error, SystemExit) and os.getpid() != self._process:
                raise  # a fork of this process ends itself, and answers nobody
            return "failed", plain(failure(error))
        finally:
            self._busy = False

    def _result(self, method: str, content: bytes) -> Any:
        if self._object is None:
            module, _, name = self._target.partition(":")
            self._object = importlib.import_module(module)
            if name:
                self._object = attrgetter(name)(self._object)(*self._arguments)
        args, keywords = read(content, f"the arguments of {method}()")
        return getattr(self._object, method)(*args, **keywords)
