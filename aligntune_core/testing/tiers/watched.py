"""What the two halves of the live tier share: runs that are made once and looked at by many tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import pytest

from aligntune_core.algorithms import catalogue, known
from aligntune_core.testing.fixtures.runs import FULL, covering, settings_of
from aligntune_core.testing.process.session import Session, supported
from aligntune_core.testing.tiers.base import Kit
from aligntune_core.testing.watch.losses import LOSSES

Record = Mapping[str, Any]
Test = Callable[..., None]
Which = Literal["every", "judged", "first", "writing"]

NONE: Mapping[Which, str] = {
    "every": "known algorithm",
    "judged": "algorithm whose loss the kit has by hand",
    "first": "known algorithm",
    "writing": "model that writes text",
}


def runs(which: Which, full: bool = False) -> Callable[[Test], Test]:
    """Give a test the parameter ``run``.

    Args:
        which: "every": one algorithm of each set of traits that the backend trains, and each that is not core's own;
            "judged": those of them whose loss the kit has by hand; "writing": those whose model writes text; "first":
            the first of them, and each that is not core's own.
        full: the run that trains all weights too, where there is a supervised algorithm.
    """

    def mark(test: Test) -> Test:
        test.runs = (which, full)  # type: ignore[attr-defined]
        return test

    return mark


def selected(trained: tuple[str, ...], which: Which, full: bool) -> list[str]:
    """The runs of a test, for a backend that trains these algorithms."""
    algorithms, own = known(), catalogue.own_names()
    every = covering(trained)
    chosen = {
        "every": every,
        "judged": [name for name in every if name in LOSSES],
        "writing": [name for name in every if algorithms[name].head == "lm"],
        "first": [name for name in every if name == every[0] or name not in own],
    }[which]
    whole = [FULL] if full and any(algorithms[name].supervised for name in every) else []
    return [*chosen, *whole]


class Watched(Kit):
    """A run that fails, fails ``test_live_trains``; tests that would look at it wait for that one."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """The runs of each test that has ``runs`` above it, by what the backend trains."""
        selection = getattr(metafunc.function, "runs", None)
        if selection is None:
            return
        name = self.named(metafunc.config)
        ids = selected(supported(name) if name else (), *selection)
        reason = f"declares that it trains no {NONE[selection[0]]}"
        none = pytest.param("none", marks=pytest.mark.skip(reason=reason))
        metafunc.parametrize("run", ids or [none])

    def algorithm_of(self, session: Session, run: str) -> str:
        """What a run trains; skips where this device will not do for it."""
        if run != FULL:
            return session.trains(run)
        return session.trains(next(n for n in covering(session.trained) if known()[n].supervised))

    def record(self, session: Session, run: str) -> Record:
        """What was seen of a run."""
        self.algorithm_of(session, run)
        with self.waits.on("test_live_trains", run=run):
            return self.kept(session, run, run)

    def kept(self, session: Session, run: str, name: str, **more: Any) -> Record:
        """A run with ``more`` for the worker, made when first asked for and kept under a name.

        ``settings`` go over the run's own.
        """
        algorithm = self.algorithm_of(session, run)
        settings = {**settings_of(run, known()[algorithm]), **more.pop("settings", {})}
        record: Record = session.train(name, algorithm=algorithm, settings=settings, **more)
        return record

    def look(self, session: Session, run: str, at: str) -> Any:
        """Look at something that a run left."""
        self.record(session, run)
        return session.look(run, at)

    def has_full(self, session: Session, run: str) -> bool:
        """Whether the run "full" trains the same algorithm as this one."""
        supervised = [name for name in covering(session.trained) if known()[name].supervised]
        return supervised[:1] == [run]

    def like_full(self, session: Session, run: str, settings: Mapping[str, Any]) -> Record:
        """The run "full", which has these settings and more; for another algorithm, its run again with them."""
        if self.has_full(session, run):
            return self.record(session, FULL)
        self.record(session, run)
        return self.kept(session, run, f"{run} with {sorted(settings)}", settings=settings)

    @contextmanager
    def waits_for_run(self, run: str) -> Iterator[None]:
        """Whatever fails inside is left to the tests that say whether the run worked, and told of each step once."""
        with self.waits.on("test_live_trains", "test_live_number_of_steps", run=run):
            yield


def losses(record: Record) -> list[float]:
    """The losses that the events of a run tell."""
    return [event["loss"] for event in record["events"] if "loss" in event]
