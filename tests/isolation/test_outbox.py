"""The worker's messages leave in order, and none waits for another that a signal has interrupted."""

from __future__ import annotations

import socket
import threading

from aligntune_core.launch.channel import Channel, Outbox


def pair() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return Channel(ours.detach()), Channel(theirs.detach())


def test_messages_arrive_in_order_and_unopened() -> None:
    here, there = pair()
    outbox = Outbox(here)
    outbox.send("event", b"one\nand more")
    outbox.send("log", b"")
    outbox.close()
    assert [there.receive(), there.receive()] == [("event", b"one\nand more"), ("log", b"")]


def test_a_message_of_a_signal_handler_does_not_wait_for_the_one_that_it_interrupted() -> None:
    here, there = pair()
    outbox = Outbox(here)
    sender = threading.Thread(target=outbox.send, args=("log", b"SIGINT"), daemon=True)
    with here._lock:  # a message is half out
        sender.start()
        sender.join(timeout=10)
        assert not sender.is_alive()
    assert there.receive() == ("log", b"SIGINT")
