"""One fault, one failed test: a test that cannot run because of what another test reports waits for that one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import pytest

FAILURES = (Exception, SystemExit, pytest.fail.Exception)
"""What a test fails with. ``pytest.skip`` and Ctrl-C are none of them."""

_FAULTS = pytest.StashKey[dict[tuple[str, str], "Fault | None"]]()


@dataclass(frozen=True)
class Fault:
    """A test that fails, "test_live_trains[sft]", and what it says: on the first line the exception."""

    test: str
    cause: str


class Waiting:
    """Tells for the test of a request whether another test of its class fails, by running that one's body."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._class = request.node.parent

    @contextmanager
    def on(self, *tests: str, **parameter: str) -> Iterator[None]:
        """Whatever fails inside is left to the first of these tests that fails too, or to the one that it waits for.

        Then this test is skipped, but only if the other is part of this session; else it fails with the cause, so that
        no selection of tests passes over a fault. Tests that do not take a parameter are asked without it.
        """
        try:
            yield
        except FAILURES:
            for test in tests:
                if fault := self._fault(test, parameter):
                    self._wait(fault)
            raise

    def _fault(self, test: str, parameter: dict[str, str]) -> Fault | None:
        """What is wrong where ``test`` fails; None where it passes, or skips for what the backend declares."""
        function = getattr(self._request.instance, test)
        names = inspect.signature(function).parameters
        own = {name: value for name, value in parameter.items() if name in names}
        label = f"{test}[{'-'.join(own.values())}]" if own else test
        faults = self._request.session.stash.setdefault(_FAULTS, {})
        key = (self._class.nodeid, label)
        if key not in faults:
            faults[key] = None
            try:
                fixtures = {name: self._request.getfixturevalue(name) for name in names if name not in own}
                function(**fixtures, **own)
            except pytest.skip.Exception as skip:
                faults[key] = getattr(skip, "fault", None)  # of a test that waits itself
            except FAILURES as error:
                faults[key] = Fault(label, said(error))
        return faults[key]

    def _wait(self, fault: Fault) -> NoReturn:
        """Skip, or fail where the test that fails is not part of this session."""
        if self._is_selected(fault):
            skip = pytest.skip.Exception(f"waits for {fault.test}: {fault.cause.splitlines()[0]}")
            skip.fault = fault  # type: ignore[attr-defined]
            raise skip
        pytest.fail(f"{fault.cause}\n({fault.test} reports it; this session leaves that out)", pytrace=False)

    def _is_selected(self, fault: Fault) -> bool:
        """Whether the session runs a test, and nothing on the test itself excuses its failure."""
        nodeid = f"{self._class.nodeid}::{fault.test}"
        excuses = {"skip", "skipif", "xfail"}
        return any(
            item.nodeid == nodeid and not any(mark.name in excuses for mark in item.own_markers)
            for item in self._request.session.items
        )


def said(error: BaseException) -> str:
    """The exception in words, with its type where that is not the kit's own way to fail."""
    text = str(error).strip()
    if isinstance(error, (AssertionError, pytest.fail.Exception)):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}"
