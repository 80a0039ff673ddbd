"""The kit's side of its worker process: asks it, and tells a refusal from a fault."""

from __future__ import annotations

import os
import sys
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from aligntune_core.launch import environment
from aligntune_core.launch.child import Child, Ended

TIMEOUT = 600.0
"""Seconds that one request may take."""

DEFAULTS = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled"}
"""Environment variables of the worker, where the user has not set them."""


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
        self._folder = TemporaryDirectory(prefix="aligntune-kit-", ignore_cleanup_errors=True)
        path = os.pathsep.join(p for p in sys.path if p)
        self._child = Child(
            "aligntune_core.testing.process.live:Server",
            (self._folder.name,),
            environ={**DEFAULTS, **environment.clean(), "PYTHONPATH": path},
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Let the worker do something and return its answer.

        Raises:
            Refused: aligntune or the backend refused with an error of ours.
            Failed: pytest's; any other exception, with its traceback, or the worker died.
        """
        try:
            answer = self._child.call("answer", (do, arguments), timeout=TIMEOUT)
        except Ended as ended:
            pytest.fail(
                f'the worker process, asked to "{do}", {ended.fate}:\n{ended.output or ""}', pytrace=False
            )
        if "error" not in answer:
            return answer["value"]
        error = answer["error"]
        classes = set(error["classes"])
        if "AligntuneError" in classes and not {"ContractViolation", "HookError"} & classes:
            raise Refused(error["classes"], error["message"])
        said = f"{error['classes'][0]}: {error['message']}"
        pytest.fail(f"{said}\nin the worker process:\n{error['traceback']}", pytrace=False)


@cache
def worker_of(key: str) -> Worker:
    """The worker of that key, started when first asked for; it ends with this process."""
    return Worker()
