"""Messages over a socket pair: a kind and a content, which stays bytes until its receiver opens it."""

from __future__ import annotations

import queue
import threading
from multiprocessing.connection import Connection


class Channel:
    """One end of the connection. Sending is safe from several threads.

    Args:
        descriptor: an open socket's file descriptor; the channel owns it from here on.
    """

    def __init__(self, descriptor: int) -> None:
        self._connection = Connection(descriptor)
        self._lock = threading.Lock()

    def send(self, kind: str, content: bytes) -> None:
        """Send one message.

        Raises:
            OSError: the other side is gone.
        """
        with self._lock:
            self._connection.send_bytes(kind.encode() + b"\n" + content)

    def wait(self, seconds: float | None) -> bool:
        """Wait so many seconds, None: for ever, and return whether a message or the other side's end has come.

        Raises:
            OSError: this end is closed.
        """
        return self._connection.poll(seconds)

    def receive(self) -> tuple[str, bytes]:
        """Wait for one message.

        Raises:
            EOFError, OSError: the other side is gone.
        """
        kind, _, content = self._connection.recv_bytes().partition(b"\n")
        return kind.decode(), content

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


class Outbox:
    """Sends in the background, in order. Safe in a signal handler, which may have interrupted a ``send`` half way."""

    def __init__(self, channel: Channel) -> None:
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
                self._channel.send(*message)
            except OSError:  # the other side is gone, which the receiving thread notices
                return
