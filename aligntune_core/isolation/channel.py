"""Messages over a socket pair: (kind, value) pairs, pickled by value where needed (lambdas, functions of a script)."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle


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
        data = cloudpickle.dumps((kind, value))
        with self._lock:
            self._connection.send_bytes(data)

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
