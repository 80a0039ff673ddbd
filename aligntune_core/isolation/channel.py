"""Messages over a socket pair: (kind, value) pairs, pickled by value where needed (lambdas, functions of a script)."""

from __future__ import annotations

import queue
import threading
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle


def pickled(kind: str, value: Any) -> bytes:
    """A message as bytes."""
    data: bytes = cloudpickle.dumps((kind, value))
    return data


class Channel:
    """One end of the connection. Sending is safe from several threads.

    Args:
        descriptor: an open socket's file descriptor; the channel owns it from here on.
    """

    def __init__(self, descriptor: int) -> None:
        self._connection = Connection(descriptor)
        self._lock = threading.Lock()

    def send(self, kind: str, value: Any = None) -> None:
        """Send one message.

        Raises:
            OSError: the other side is gone.
        """
        self.send_pickled(pickled(kind, value))

    def send_pickled(self, message: bytes) -> None:
        """Send what ``pickled`` made."""
        with self._lock:
            self._connection.send_bytes(message)

    def receive(self) -> tuple[str, Any]:
        """Wait for one message.

        Raises:
            EOFError, OSError: the other side is gone.
        """
        message: tuple[str, Any] = cloudpickle.loads(self._connection.recv_bytes())
        return message

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


class Outbox:
    """Sends in the background, in order. Safe in a signal handler, which may have interrupted a ``send`` half way."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="aligntune-outbox")
        self._thread.start()

    def send(self, kind: str, value: Any = None) -> None:
        """Send one message; it is pickled now, so that later changes of ``value`` do not show."""
        self._waiting.put(pickled(kind, value))

    def close(self) -> None:
        """Wait until everything is sent."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (data := self._waiting.get()) is not None:
            try:
                self._channel.send_pickled(data)
            except OSError:  # the other side is gone; whoever receives notices it
                return
