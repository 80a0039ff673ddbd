"""What the tests of one backend ask of its worker process; each answer is asked for once and kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from aligntune_core.algorithms import known
from aligntune_core.backends.registry import registry
from aligntune_core.config import covers
from aligntune_core.config.keywords import parameters_of, tree
from aligntune_core.launch import environment
from aligntune_core.launch.child import Child, Ended
from aligntune_core.testing.fixtures import changes
from aligntune_core.testing.process.live import Broken, Refused
from aligntune_core.testing.process.waiting import FAILURES
from aligntune_core.types import Support

TIMEOUT = 600.0
"""Seconds that one request may take."""
DEFAULTS = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled"}
"""Environment variables of the worker, where the user has not set them."""


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

    def ask(self, do: str, arguments: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
        """Let the worker do something and return its answer.

        Raises:
            Refused: aligntune or the backend refused with an error of ours.
            Failed: pytest's; any other exception, with its traceback, or the worker died.
        """
        try:
            return self._child.call("answer", (do, arguments, more), timeout=TIMEOUT)
        except Broken as broken:
            fault = str(broken)
        except Ended as ended:
            fault = f'the worker process, asked to "{do}", {ended.fate}:\n{ended.output or ""}'
        pytest.fail(fault, pytrace=False)


@cache
def worker_of(key: str) -> Worker:
    """The worker of that key, started when first asked for; it ends with this process."""
    return Worker()


class Session:
    """One backend and its worker; raises what the registry, or ``supports_algorithm``, does.

    Backends of one ``process`` share a worker; ``settings`` are keywords of every call; ``trained`` is in core's order.
    """

    def __init__(self, name: str, process: str, settings: Mapping[str, Any]) -> None:
        backend = registry().get(name)
        self.name, self.info, self._process, self._settings = name, backend.info, process, settings
        self._supports: dict[str, Support] = {algorithm: backend.supports(algorithm) for algorithm in known()}
        self.trained = tuple(algorithm for algorithm, support in self._supports.items() if support)
        self._kept: dict[Any, Any] = {}

    def ask(self, do: str, **arguments: Any) -> Any:
        """Ask the worker for something of this backend, made anew."""
        return worker_of(self._process).ask(do, {"backend": self.name, **arguments}, self._settings)

    def once(self, key: Any, ask: Callable[[], Any]) -> Any:
        """The answer of ``ask``, or what it raised; only the first time anything is asked."""
        if key not in self._kept:
            try:
                self._kept[key] = (ask(), None)
            except (Refused, pytest.fail.Exception) as error:
                self._kept[key] = (None, error)
        answer, raised = self._kept[key]
        if raised is not None:
            raise raised.with_traceback(None)
        return answer

    def asked(self, do: str, **arguments: Any) -> Any:
        """As ``ask``, but the same question is asked once."""
        return self.once((do, *map(str, arguments.values())), lambda: self.ask(do, **arguments))

    def train(self, name: str, **arguments: Any) -> Any:
        """Train once, and keep the run in the worker under a name."""
        return self.once(("train", name), lambda: self.ask("train", name=name, **arguments))

    def look(self, name: str, at: str) -> Any:
        """Look at a kept run; once."""
        return self.asked("look", name=name, at=at)

    # --- algorithms --------------------------------------------------------------------------------------------------

    def trains(self, algorithm: str) -> str:
        """The algorithm's own name; skips where the backend declares that it does not train it."""
        support = self._supports[algorithm]
        if not support:
            pytest.skip(f'declares that it does not train {algorithm}: "{support.reason}"')
        lack = self._lack(algorithm)
        if lack and any(not self._lack(name) for name in self.trained):
            pytest.skip(f"declares that this device will not do for {algorithm}: {lack}")
        return algorithm

    def plan(self, algorithm: str) -> Any:
        """Plan the kit's own call."""
        return self.asked("plan", algorithm=algorithm)

    def _lack(self, algorithm: str) -> str:
        """What ``prepare`` says with ``BackendUnavailable`` that this device lacks for an algorithm; else empty."""
        try:
            self.plan(algorithm)
        except (Refused, pytest.fail.Exception) as error:
            return str(error) if "BackendUnavailable" in getattr(error, "classes", ()) else ""
        return ""

    def algorithm_for(self, path: str) -> str | None:
        """An algorithm that has the field and is trained by the backend."""
        only, algorithms = tree()[path].only, known()
        return next((name for name in self.trained if algorithms[name].has(only)), None)

    # --- fields ------------------------------------------------------------------------------------------------------

    def planned(self, algorithm: str, path: str) -> Any:
        """What becomes of ``path`` in ``planned`` when it is changed."""
        return self.asked("planned", algorithm=algorithm, path=path)

    def effective(self, algorithm: str, path: str, others: Sequence[str]) -> Any:
        """What becomes of ``path`` in ``effective`` when it is changed, beside ``others`` where that works."""
        together = [p for p in others if not changes.is_alone(p)]
        if path in together:
            try:
                return self.asked("built", algorithm=algorithm, fields=together)[path]
            except (Refused, pytest.fail.Exception):
                pass  # some fields do not go together
        return self.asked("built", algorithm=algorithm, fields=[path])[path]

    def left_to_live(self, algorithm: str, fields: Iterable[str]) -> list[str]:
        """Of ``fields`` those that ``planned`` says nothing of; what it says is the argument tier's to judge."""
        return [path for path in fields if self._is_left(algorithm, path)]

    def _is_left(self, algorithm: str, path: str) -> bool:
        quick = {} if ("planned", algorithm, path) in self._kept else {"quick": True}
        try:
            answer = self.asked("planned", algorithm=algorithm, path=path, **quick)
        except (Refused, pytest.fail.Exception):
            return False
        return bool(answer["outcome"] == "absent")

    def testable(self, path: str) -> bool:
        """Whether the backend declares that it takes this field."""
        needed = quantization_of(path)
        return covers(self.info.honours, path) and (needed is None or needed in self.info.quantizations)


def quantization_of(path: str) -> str | None:
    """The weight format that a field belongs to."""
    if not path.startswith("model.quantization."):
        return None
    return "8bit" if "8bit" in path else "4bit"


def parameters(algorithm: str) -> list[str]:
    """Config paths of an algorithm's own parameters."""
    return [entry.path for entry in parameters_of(known()[algorithm].parameters).values()]


def supported(name: str) -> tuple[str, ...]:
    """The algorithms that a backend says it trains; all of them where it cannot be asked, for its tests to say so."""
    try:
        backend = registry().get(name)
        return tuple(algorithm for algorithm in known() if backend.supports(algorithm))
    except FAILURES:
        return tuple(known())


_sessions: dict[tuple[str, str], Session] = {}


def session_of(name: str, process: str, settings: Mapping[str, Any]) -> Session:
    """The session of a backend, for as long as this process runs."""
    if (name, process) not in _sessions:
        _sessions[name, process] = Session(name, process, settings)
    return _sessions[name, process]
