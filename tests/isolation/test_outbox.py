"""The worker's messages leave in order, and none waits for another that a signal has interrupted."""

from __future__ import annotations

import socket
import threading
from multiprocessing.connection import Connection

from aligntune_core.launch.service import Outbox


def pair() -> tuple[Connection, Connection]:
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), Connection(theirs.detach())


def test_messages_arrive_in_order_and_unopened() -> None:
    here, there = pair()
    outbox = Outbox(here)
    outbox.send("event", b"one\nand more")
    outbox.send("log", b"")
    outbox.close()
    assert [there.recv(), there.recv()] == [("event", b"one\nand more"), ("log", b"")]


def test_a_message_of_a_signal_handler_does_not_wait_for_the_one_that_it_interrupted() -> None:
    here, there = pair()
    outbox, half_out = Outbox(here), bytes(2**24)  # no socket takes that much before the other side reads
    sender = threading.Thread(target=outbox.send, args=("log", b"SIGINT"), daemon=True)
    outbox.send("event", half_out)
    sender.start()
    sender.join(timeout=10)
    assert not sender.is_alive()
    assert there.recv() == ("event", half_out)
    assert there.recv() == ("log", b"SIGINT")
