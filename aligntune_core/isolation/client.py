"""The parent's side: starts a worker, hands it the configuration, and stands for its Trainer."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from aligntune_core.errors import RunError
from aligntune_core.isolation import environment
from aligntune_core.isolation.channel import Channel
from aligntune_core.isolation.payload import pack
from aligntune_core.run.progress import Progress
from aligntune_core.run.signals import StopFlag
from aligntune_core.trainer import Trainer

if TYPE_CHECKING:
    from aligntune_core.config import Config, ResolvedConfig
    from aligntune_core.types import TrainResult

logger = logging.getLogger("aligntune")

_LINES_KEPT = 20


class Worker:
    """A child process and the channel to it; killed when this object goes."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aligntune_core.isolation", str(theirs.fileno())],
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
        self.channel = Channel(ours.detach())
        self.last_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._copy(self.process.stdout, lambda: sys.stdout)
        self._copy(self.process.stderr, lambda: sys.stderr)
        self.close = weakref.finalize(self, _end, self.process, self.channel)
        level = logger.getEffectiveLevel()
        self._guarded(lambda: self.channel.send("header", {"path": sys.path, "log_level": level}))

    def _copy(self, source: Any, target: Callable[[], TextIO]) -> None:
        lines = self.last_lines

        def read() -> None:
            for line in source:
                lines.append(line)
                target().write(line)
                target().flush()

        threading.Thread(target=read, daemon=True, name="aligntune-worker-output").start()

    def call(self, kind: str, value: Any, on_event: Callable[[Mapping[str, Any]], None] | None = None) -> Any:
        """Ask for one thing and wait for it; log records and events that come meanwhile are passed on.

        Raises:
            Whatever the worker raised, with its traceback as a note.
            RunError: the worker died.
        """
        self._guarded(lambda: self.channel.send(kind, value))
        while True:
            answer, content = self._guarded(self.channel.receive)
            if answer == "log":
                logger.log(content[0], "%s", content[1])
            elif answer == "event":
                if on_event:
                    on_event(content)
            elif answer == "failed":
                raise _with_notes(*content)
            else:
                return content

    def _guarded(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (EOFError, OSError):
            self._died()
        except KeyboardInterrupt:
            self.close()
            raise

    def _died(self) -> NoReturn:
        code = self.process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = " (the system kills processes when memory runs out)" if code == -signal.SIGKILL else ""
        tail = "".join(self.last_lines)
        raise RunError(
            f"the worker process {how}{hint}. Create the trainer again and call train(resume=True) to go on from the "
            f"last complete checkpoint. The worker's last lines:\n{tail}"
        )


def _with_notes(error: BaseException, notes: list[str]) -> BaseException:
    for note in notes:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    return error


def _end(process: subprocess.Popen[str], channel: Channel) -> None:
    channel.close()
    process.kill()
    process.wait()


class RemoteTrainer(Trainer):
    """A Trainer whose backend lives in a worker process. Same methods; models stay over there."""

    def __init__(self, config: Config, backend: str) -> None:
        packed = pack(config.model_copy(update={"backend": backend, "isolation": "none"}))
        self._worker = Worker()
        described = self._worker.call("create", packed)
        self._resolved: ResolvedConfig = described["config"]
        self.effective = described["effective"]
        self._planned_arguments = described["planned"]
        self._backend_name = backend
        self.on_event = None

    @property
    def config(self) -> ResolvedConfig:
        return self._resolved

    @property
    def planned(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._planned_arguments
        return found

    @property
    def backend(self) -> str:
        return self._backend_name

    @property
    def output_dir(self) -> Path:
        return Path(self._resolved.run.output_dir)

    @property
    def model(self) -> Any:
        return self._elsewhere("model")

    @property
    def tokenizer(self) -> Any:
        return self._elsewhere("tokenizer")

    @property
    def native(self) -> Any:
        return self._elsewhere("native")

    def _elsewhere(self, name: str) -> NoReturn:
        raise RunError(
            f'trainer.{name} lives in the worker process (isolation="process") and cannot be handed over. '
            "Use evaluate(), generate() or save_model(), or create the trainer without isolation."
        )

    def train(self, resume: bool | str | Path | None = None) -> TrainResult:
        title = f"{self.config.algorithm} on {self.backend} (worker {self._worker.process.pid})"
        stop = StopFlag(on_request=lambda _: self._worker.process.send_signal(signal.SIGINT))
        with stop, Progress(title, self.config.optim.max_steps) as progress:
            result: TrainResult = self._worker.call("train", ((resume,), {}), self.on_event or progress)
        return result

    def evaluate(self, dataset: Any = None) -> dict[str, float]:
        found: dict[str, float] = self._worker.call("evaluate", ((dataset,), {}))
        return found

    def save_model(self, path: str | Path | None = None, merged: bool = False) -> str:
        return str(self._worker.call("save_model", ((path, merged), {})))

    def generate(
        self,
        prompts: str | Sequence[Any],
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> list[str]:
        found: list[str] = self._worker.call("generate", ((prompts, max_new_tokens, temperature, top_p), {}))
        return found

    def push_to_hub(
        self, repo: str, private: bool = True, token: str | None = None, commit_message: str | None = None
    ) -> str:
        return str(self._worker.call("push_to_hub", ((repo, private, token, commit_message), {})))

    def close(self) -> None:
        """End the worker process."""
        self._worker.close()
