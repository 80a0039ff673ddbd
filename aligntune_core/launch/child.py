"""The parent's side of a child Python process: start it, call it, and learn how it ended.

The child serves one object, whose methods are called here and run there; ``service`` is the child's side.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import cloudpickle

from aligntune_core.errors import RunError
from aligntune_core.launch import environment
from aligntune_core.launch.answers import rebuilt, unpickled
from aligntune_core.run.signals import StopFlag
from aligntune_core.wording import a_type

logger = logging.getLogger("aligntune")

_LINES_KEPT = 40


class Ended(RunError):
    """The child is no longer there.

    Attributes:
        fate: how it ended: "was killed by SIGSEGV (signal 11)", "took more than 600 s", "was ended by close()".
        output: the last lines that it printed; None where this process ended it on purpose.
    """

    def __init__(self, fate: str, output: str | None) -> None:
        super().__init__(f"the worker process {fate}" + (f":\n{output}" if output else ""))
        self.fate, self.output = fate, output


class Child:
    """A process that serves one object, and the channel to it; it is killed when this object or this process ends.

    Args:
        target: "package.module:Class", made in the child, or "package.module", whose functions are called.
        arguments: of the class.
        echo: whether what it prints appears on this process's stdout and stderr as it comes.
        environ: its environment; by default the user's own.
    """

    def __init__(
        self,
        target: str,
        arguments: Sequence[Any] = (),
        echo: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aligntune_core.launch", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment.clean() if environ is None else environ,
            start_new_session=True,  # the terminal's Ctrl-C reaches the parent alone, which passes it on once
        )
        theirs.close()
        self._channel = Connection(ours.detach())
        self._kill = weakref.finalize(self, _kill, self.process, self._channel)
        self._end: tuple[str, str | None] | None = None
        """Fate and last output, once it can no longer be asked."""
        self._last_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._readers = [
            threading.Thread(target=_copy, args=(source, name if echo else "", self._last_lines), daemon=True)
            for name, source in (("stdout", self.process.stdout), ("stderr", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()
        header = cloudpickle.dumps((sys.path, target, arguments))
        self._guarded(self._channel.send, ("header", header))

    def call(
        self,
        method: str,
        args: Sequence[Any] = (),
        keywords: Mapping[str, Any] | None = None,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call a method of the child's object and wait; log records and events that come meanwhile are passed on.

        Args:
            method: of the object that the child serves.
            args, keywords: for it; functions and classes of a script travel by value.
            on_event: called with each event.
            timeout: seconds that it may take; then the child is killed. None: any time.

        Raises:
            Whatever the method raised, with its traceback as a note; a RunError that quotes it where its class would
            have to be imported first.
            Ended: the child died, took too long, or was ended before.
            RunError: an argument or the answer cannot be handed over.
        """
        what = f"the arguments of {method}()"
        try:
            content = cloudpickle.dumps((args, keywords or {}))
        except Exception as error:
            raise RunError(
                f"{what} cannot be sent to the worker process ({error}); give a file or plain values"
            ) from error
        try:
            kind, answer = self._ask(method, content, on_event, timeout)
        except BaseException as error:
            # Otherwise this call's answer, still under way, would be taken for the next call's.
            self.end("Ctrl-C" if isinstance(error, KeyboardInterrupt) else a_type(error))
            raise
        if kind == "failed":
            # The error is kept in no variable: its traceback would hold this frame, and that the error and the child.
            raise rebuilt(unpickled(answer, method))
        return unpickled(answer, method)

    def _ask(
        self,
        method: str,
        content: bytes,
        on_event: Callable[[Mapping[str, Any]], None] | None,
        timeout: float | None,
    ) -> tuple[str, bytes]:
        deadline = None if timeout is None else time.monotonic() + timeout
        self._guarded(self._channel.send, (method, content))
        while True:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._guarded(self._channel.poll, remaining):
                self._kill()
                self._gone(f"took more than {timeout:g} s")
            kind, message = self._guarded(self._channel.recv)
            if kind in ("done", "failed"):
                return kind, message
            value = unpickled(message, method)
            if kind == "log":
                logger.log(*value)
            elif on_event:
                on_event(value)

    def _guarded(self, action: Callable[..., Any], *args: Any) -> Any:
        try:
            return action(*args)
        except (EOFError, OSError):
            self._gone()

    def _gone(self, fate: str = "") -> NoReturn:
        if self._end is None:
            code = self.process.wait()
            for reader in self._readers:
                reader.join(timeout=1)
            self._end = fate or death(code), "".join(self._last_lines)
        raise self.ended(*self._end)

    def ended(self, fate: str, output: str | None) -> RunError:
        """The error for a child that is gone; see ``Ended`` for the arguments."""
        return Ended(fate, output)

    def passing_on(self) -> StopFlag:
        """While it is entered, the signal that asks this process to stop goes to the child.

        Once: a second Ctrl-C would be taken for one that does not wait for the checkpoint.
        """
        process, sent = self.process, set[str]()

        def pass_on(reason: str) -> None:
            if not sent:
                sent.add(reason)
                process.send_signal(signal.Signals[reason])

        return StopFlag(on_request=pass_on)

    def end(self, by: str) -> None:
        """Kill the process; later calls say that it was ended by ``by``."""
        self._end = self._end or (f"was ended by {by}", None)
        self._kill()


def call_once(module: str, function: str, *args: Any, timeout: float) -> Any:
    """Call one function of a module in a child of its own, which may take ``timeout`` seconds; as ``Child.call``."""
    child = Child(module)
    try:
        return child.call(function, args, timeout=timeout)
    finally:
        child.end(f"{function}()")


def death(code: int) -> str:
    """Describe the end of a process by its exit code, negative for a signal: "was killed by SIGSEGV (signal 11)"."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = next((s.name for s in signal.Signals if s == -code), "a signal")
    memory = "; the system kills processes when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name} (signal {-code}{memory})"


def _copy(source: Any, stream: str, last_lines: deque[str]) -> None:
    """Keep the last lines of ``source``, and write all of them to the stream of ``sys`` of that name, if any."""
    for line in source:  # to the end in every case: on a full pipe the child would wait
        last_lines.append(line)
        if stream:
            try:
                getattr(sys, stream).write(line)
                getattr(sys, stream).flush()
            except Exception as error:  # a closed pipe, a full disk, a stream of the caller's own
                stream = ""
                logger.warning("what the worker process prints is no longer shown: %r", error)


def _kill(process: subprocess.Popen[str], channel: Connection) -> None:
    process.kill()  # first: where the channel closes, the child ends by itself
    process.wait()
    channel.close()
