"""The worker process as the parent sees it: started, asked, and ended, on purpose or not."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TextIO

import cloudpickle

from aligntune_core.errors import RunError
from aligntune_core.launch import environment
from aligntune_core.launch.answers import opened, rebuilt
from aligntune_core.launch.channel import Channel
from aligntune_core.wording import a_type

logger = logging.getLogger("aligntune")

_LINES_KEPT = 20


class Worker:
    """A child process and the channel to it; killed when this object goes."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aligntune_core.launch", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment.clean(),
            start_new_session=True,  # the terminal's Ctrl-C reaches the parent alone, which passes it on once
        )
        theirs.close()
        self._channel = Channel(ours.detach())
        self._kill = weakref.finalize(self, _kill, self.process, self._channel)
        self._fate = ""
        """Why it can no longer be asked."""
        self._last_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._readers = [
            self._copy(self.process.stdout, lambda: sys.stdout),
            self._copy(self.process.stderr, lambda: sys.stderr),
        ]
        header = cloudpickle.dumps({"path": sys.path, "log_level": logger.getEffectiveLevel()})
        self._guarded(lambda: self._channel.send("header", header))

    def _copy(self, source: Any, target: Callable[[], TextIO]) -> threading.Thread:
        lines = self._last_lines

        def read() -> None:
            shown = True
            for line in source:  # to the end, come what may: the worker would wait for a full pipe
                lines.append(line)
                if not shown:
                    continue
                try:
                    target().write(line)
                    target().flush()
                except Exception as error:  # a closed pipe, a full disk, a stream of the caller's own
                    shown = False
                    logger.warning("what the worker process prints is no longer shown: %r", error)

        thread = threading.Thread(target=read, daemon=True, name="aligntune-worker-output")
        thread.start()
        return thread

    def call(self, kind: str, value: Any, on_event: Callable[[Mapping[str, Any]], None] | None = None) -> Any:
        """Ask for one thing and wait for it; log records and events that come meanwhile are passed on.

        Raises:
            Whatever the worker raised, with its traceback as a note; a RunError that quotes it where its class would
            have to be imported first.
            RunError: the worker died or was ended, or the value or the answer cannot be handed over.
        """
        content = _pickled(kind, value)
        try:
            answer, content = self._ask(kind, content, on_event)
        except BaseException as error:
            # Else what is still under way would be taken for the next call's answer.
            self.end("Ctrl-C" if isinstance(error, KeyboardInterrupt) else a_type(error))
            raise
        if answer == "failed":
            # In no variable: it would hold this frame, which holds it, and so the worker.
            raise rebuilt(opened(content, kind))
        return opened(content, kind)

    def _ask(
        self, kind: str, content: bytes, on_event: Callable[[Mapping[str, Any]], None] | None
    ) -> tuple[str, bytes]:
        self._guarded(lambda: self._channel.send(kind, content))
        while True:
            answer, said = self._guarded(self._channel.receive)
            if answer == "log":
                level, text = opened(said, kind)
                logger.log(level, "%s", text)
            elif answer == "event":
                if on_event:
                    on_event(opened(said, kind))
            else:
                return answer, said

    def _guarded(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (EOFError, OSError):
            self._died()

    def _died(self) -> NoReturn:
        if not self._fate:
            code = self.process.wait()
            for reader in self._readers:
                reader.join(timeout=1)
            how = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            )
            hint = " (the system kills processes when memory runs out)" if code == -signal.SIGKILL else ""
            self._fate = (
                f"the worker process {how}{hint}. Create the trainer again and call train(resume=True) to go on from "
                f"the last complete checkpoint. The worker's last lines:\n{''.join(self._last_lines)}"
            )
        raise RunError(self._fate)

    def end(self, by: str) -> None:
        """Kill the process; later calls say that it was ended by ``by``."""
        self._fate = self._fate or f"the worker process was ended by {by}. Create the trainer again."
        self._kill()


def _pickled(kind: str, value: Any) -> bytes:
    try:
        data: bytes = cloudpickle.dumps(value)
    except Exception as error:
        raise RunError(
            f"the arguments of {kind}() cannot be sent to the worker process ({error}); give a file or plain values"
        ) from error
    return data


def _kill(process: subprocess.Popen[str], channel: Channel) -> None:
    channel.close()
    process.kill()
    process.wait()
