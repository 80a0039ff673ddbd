"""What the two halves of the live tier share: runs that are made once and looked at by many tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from aligntune_core.testing.fixtures.runs import EVERY, RUNS
from aligntune_core.testing.process.session import Session
from aligntune_core.testing.tiers.base import Kit

Record = Mapping[str, Any]


class Watched(Kit):
    """A run that fails, fails ``test_live_trains``; tests that would look at it wait for that one."""

    def record(self, session: Session, run: str) -> Record:
        """What was seen of a run."""
        session.trains(RUNS[run][0])
        with self.waits.on("test_live_trains", run=run):
            return self.kept(session, run, run)

    def kept(self, session: Session, run: str, name: str, **more: Any) -> Record:
        """A run with its own settings and more, made when first asked for and kept under a name.

        Args:
            session: the backend.
            run: a key of ``RUNS``.
            name: to keep it under.
            more: for the worker; ``settings`` go over those of ``RUNS``.
        """
        settings = {**RUNS[run][1], **more.pop("settings", {})}
        arguments = {"algorithm": session.trains(RUNS[run][0]), "settings": settings, **more}
        found: Record = session.once(
            name, lambda: session.ask("train", name=self.key(session, name), **arguments)
        )
        return found

    def key(self, session: Session, name: str) -> str:
        """The worker's name of a kept run."""
        return f"{session.name}:{name}"

    def look(self, session: Session, run: str, at: str, **more: Any) -> Any:
        """Look at something that a run left."""
        self.record(session, run)
        return session.once(
            (run, at), lambda: session.worker.ask("look", name=self.key(session, run), at=at, **more)
        )

    def first(self, session: Session) -> str:
        """The first run that the backend trains, for tests that any algorithm will do for: "sft", "dpo" or "online"."""
        for run in EVERY:
            try:
                session.trains(RUNS[run][0])
            except pytest.skip.Exception:
                continue
            return run
        pytest.skip("declares that it trains neither SFT nor DPO nor an online algorithm")

    def like_full(self, session: Session, settings: Mapping[str, Any]) -> Record:
        """The run "full", which has these settings and more; without SFT, the first run again with them."""
        run = self.first(session)
        if run == "sft":
            return self.record(session, "full")
        self.record(session, run)
        return self.kept(session, run, f"{run} with {sorted(settings)}", settings=settings)

    @contextmanager
    def waits_for_run(self, run: str) -> Iterator[None]:
        """Whatever fails inside is left to the tests that say whether the run worked, and told of each step once."""
        with self.waits.on("test_live_number_of_steps", run=run), self.waits.on("test_live_trains", run=run):
            yield


def losses(record: Record) -> list[float]:
    """The losses that the events of a run tell."""
    return [event["loss"] for event in record["events"] if "loss" in event]
