"""What the tests of one backend ask of its worker process; each answer is asked for once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from aligntune_core.algorithms import known
from aligntune_core.config import covers
from aligntune_core.config.keywords import parameters_of, tree
from aligntune_core.testing.fixtures import changes
from aligntune_core.testing.process.waiting import FAILURES
from aligntune_core.testing.process.worker import Refused, Worker, worker_of
from aligntune_core.types import BackendInfo, Support

UNSEEN = ("absent", "nothing planned")


class Session:
    """One backend and its worker.

    Args:
        name: the backend.
        process: key of the worker; backends of the same key share one.
        settings: keywords of every call.
        info: what the backend says of itself.
        supports: its answer for each known algorithm.

    Attributes:
        trained: the algorithms that it says it trains, in core's order.
    """

    def __init__(
        self,
        name: str,
        process: str,
        settings: Mapping[str, Any],
        info: BackendInfo,
        supports: Mapping[str, Support],
    ) -> None:
        self.name, self.info, self._process, self._supports = name, info, process, supports
        self.trained = tuple(algorithm for algorithm, support in supports.items() if support)
        self._settings = dict(settings)
        self._kept: dict[Any, Any] = {}

    @property
    def worker(self) -> Worker:
        """The worker process."""
        return worker_of(self._process)

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
        return self.once(("plan", algorithm), lambda: self.ask("plan", algorithm=algorithm))

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

    def supports(self, algorithm: str) -> bool:
        """Whether the backend says that it trains an algorithm."""
        return bool(self._supports.get(algorithm))

    def ask(self, do: str, **arguments: Any) -> Any:
        """Ask the worker about this backend."""
        return self.worker.ask(do, backend=self.name, more=self._settings, **arguments)

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

    # --- fields ------------------------------------------------------------------------------------------------------

    def planned(self, algorithm: str, path: str) -> dict[str, Any]:
        """What becomes of ``path`` in ``planned`` when it is changed."""
        key = ("planned", algorithm, path)
        answer: dict[str, Any] = self.once(key, lambda: self.ask("planned", algorithm=algorithm, path=path))
        return answer

    def effective(self, algorithm: str, path: str, others: Sequence[str] = ()) -> dict[str, Any]:
        """What becomes of ``path`` in ``effective`` when it is changed.

        All fields are changed in one call; where that does not work, each in one of its own.

        Args:
            algorithm: to train.
            path: the field.
            others: fields that may be changed in the same call.
        """
        together = [p for p in others if not changes.is_alone(p)]
        if path in together:
            try:
                return self._built(algorithm, together)[path]
            except (Refused, pytest.fail.Exception):
                return self._built(algorithm, [path])[path]  # some fields do not go together
        return self._built(algorithm, [path])[path]

    def _built(self, algorithm: str, fields: list[str]) -> dict[str, dict[str, Any]]:
        key = ("built", algorithm, *fields)
        built: dict[str, dict[str, Any]] = self.once(
            key, lambda: self.ask("built", algorithm=algorithm, fields=fields)
        )
        return built

    def left_to_live(self, algorithm: str, fields: Iterable[str]) -> list[str]:
        """Of ``fields`` those that ``planned`` says nothing of; what it says is the argument tier's to judge."""
        return [path for path in fields if self._is_left(algorithm, path)]

    def _is_left(self, algorithm: str, path: str) -> bool:
        answered = ("planned", algorithm, path) in self._kept
        try:
            if answered:
                answer = self.planned(algorithm, path)
            else:
                answer = self.ask("planned", algorithm=algorithm, path=path, quick=True)
        except (Refused, pytest.fail.Exception):
            return False
        return answer["outcome"] in UNSEEN

    def testable(self, path: str) -> bool:
        """Whether the backend declares that it takes this field."""
        needed = self.quantisation_of(path)
        return covers(self.info.honours, path) and (needed is None or needed in self.info.quantizations)

    @staticmethod
    def quantisation_of(path: str) -> str | None:
        """The weight format that a field belongs to."""
        if not path.startswith("model.quantization."):
            return None
        return "8bit" if "8bit" in path else "4bit"


def parameters(algorithm: str) -> Iterable[str]:
    """Config paths of an algorithm's own parameters."""
    return [entry.path for entry in parameters_of(known()[algorithm].parameters).values()]


def supported(name: str) -> tuple[str, ...]:
    """The algorithms that a backend says it trains; all of them where it cannot be asked, for its tests to say so."""
    from aligntune_core.backends.registry import registry

    try:
        backend = registry().get(name)
        return tuple(algorithm for algorithm in known() if backend.supports(algorithm))
    except FAILURES:
        return tuple(known())


_sessions: dict[tuple[str, str], Session] = {}


def session_of(name: str, process: str, settings: Mapping[str, Any]) -> Session:
    """The session of a backend, for as long as this process runs."""
    from aligntune_core.backends.registry import registry

    if (name, process) not in _sessions:
        backend = registry().get(name)
        supports = {algorithm: backend.supports(algorithm) for algorithm in known()}
        _sessions[name, process] = Session(name, process, settings, backend.info, supports)
    return _sessions[name, process]
