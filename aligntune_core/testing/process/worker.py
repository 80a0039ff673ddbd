"""The kit's side of its worker process: starts it, asks it, and ends it."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
from typing import Any

import pytest

TIMEOUT = 600.0
"""Seconds that one request may take."""


class Refused(Exception):
    """The worker raised one of aligntune's own errors.

    Attributes:
        classes: names of the exception's classes, the most special first.
    """

    def __init__(self, classes: list[str], message: str) -> None:
        super().__init__(message)
        self.classes = classes


class Worker:
    """One process that drives backends; see ``aligntune_core.testing.process.live``."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._log = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._answers = os.fdopen(reading, "rb", buffering=0)
        environ = {
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "WANDB_MODE": "disabled",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aligntune_core.testing.process.live", str(writing)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            env=environ,
            text=True,
        )
        os.close(writing)
        self._rest = b""

    def ask(self, do: str, **arguments: Any) -> Any:
        """Let the worker do something and return its answer.

        Raises:
            Refused: aligntune or the backend refused with an error of ours.
            Failed: pytest's; any other exception, with its traceback, or the worker died.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pytest.fail(self._last_words("has ended"), pytrace=False)
        answer = json.loads(self._line(do))
        if "error" not in answer:
            return answer["value"]
        error = answer["error"]
        if "AligntuneError" in error["classes"] and not {"ContractViolation", "HookError"} & set(
            error["classes"]
        ):
            raise Refused(error["classes"], error["message"])
        said = f"{error['classes'][0]}: {error['message']}"
        pytest.fail(f"{said}\nin the worker process:\n{error['traceback']}", pytrace=False)

    def _line(self, do: str) -> bytes:
        while b"\n" not in self._rest:
            if not select.select([self._answers], [], [], TIMEOUT)[0]:
                self._process.kill()
                pytest.fail(self._last_words(f'took more than {TIMEOUT:g} s over "{do}"'), pytrace=False)
            read = self._answers.read(65536)
            if not read:
                self._process.wait()
                pytest.fail(self._last_words(f'died over "{do}"'), pytrace=False)
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _last_words(self, what: str) -> str:
        self._log.seek(0)
        return f"the worker process {what} (exit {self._process.poll()}):\n{self._log.read()[-4000:]}"

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._answers.close()
        self._log.close()


_workers: dict[str, Worker] = {}


def worker_of(key: str) -> Worker:
    """The worker of that key, started when first asked for; it ends with this process."""
    if key not in _workers:
        _workers[key] = Worker()
        atexit.register(_workers[key].close)
    return _workers[key]


def close_workers() -> None:
    """End all workers, e.g. before another library set is put on ``sys.path``."""
    for worker in _workers.values():
        atexit.unregister(worker.close)
        worker.close()
    _workers.clear()
