"""One fault, one failed test: a test that cannot run because of what another test reports waits for that one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

FAILURES = (Exception, SystemExit, pytest.fail.Exception)
"""What a test fails with. ``pytest.skip`` and Ctrl-C are none of them."""

_FAULTS = pytest.StashKey[dict[tuple[str, str], "Fault | None"]]()


@dataclass(frozen=True)
class Fault:
    """A test that fails, and what it says.

    Attributes:
        test: "test_live_trains[sft]".
        cause: the exception, on the first line, and what else there is to say.
    """

    test: str
    cause: str


class Waiting:
    """Tells for one test whether another test of its class fails, by running that one's body.

    Args:
        request: of the test that may have to wait.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._class = request.node.parent

    @contextmanager
    def on(self, test: str, **parameter: str) -> Iterator[None]:
        """Whatever fails inside is left to ``test``, where that one fails too, or to the test that it waits for.

        Then this test is skipped, but only if the other is part of this session; else it fails with the cause, so that
        no selection of tests passes over a fault.

        Args:
            test: name of a test of the same class.
            parameter: its parameter, by name, where it has one.
        """
        try:
            yield
        except FAILURES:
            if fault := self.fault(test, **parameter):
                self.wait(fault)
            raise

    def fault(self, test: str, **parameter: str) -> Fault | None:
        """What is wrong where ``test`` fails; None where it passes, or skips for what the backend declares."""
        faults = self._request.session.stash.setdefault(_FAULTS, {})
        name = f"{test}[{'-'.join(parameter.values())}]" if parameter else test
        key = (self._class.nodeid, name)
        if key not in faults:
            faults[key] = self._fault(name, test, parameter)
        return faults[key]

    def _fault(self, name: str, test: str, parameter: dict[str, str]) -> Fault | None:
        function = getattr(self._request.instance, test)
        try:
            arguments: dict[str, Any] = {
                name: self._request.getfixturevalue(name)
                for name in inspect.signature(function).parameters
                if name not in parameter
            }
            function(**arguments, **parameter)
        except pytest.skip.Exception as skip:
            return getattr(skip, "fault", None)  # of a test that waits itself
        except FAILURES as error:
            return Fault(name, said(error))
        return None

    def wait(self, fault: Fault) -> NoReturn:
        """Skip, or fail where the test that fails is not part of this session."""
        if self._is_selected(f"{self._class.nodeid}::{fault.test}"):
            skip = pytest.skip.Exception(f"waits for {fault.test}: {fault.cause.splitlines()[0]}")
            skip.fault = fault  # type: ignore[attr-defined]
            raise skip
        pytest.fail(f"{fault.cause}\n({fault.test} reports it; this session leaves that out)", pytrace=False)

    def _is_selected(self, nodeid: str) -> bool:
        """Whether the session runs a test, and nothing on the test itself excuses its failure."""
        excuses = ("skip", "skipif", "xfail")
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
