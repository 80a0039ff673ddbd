"""One fault, one failed test: a test that cannot run because of what another test reports waits for that one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

FAILURES = (Exception, SystemExit, pytest.fail.Exception)
"""What a test fails with. ``pytest.skip`` and Ctrl-C are none of them."""

_FAULTS = pytest.StashKey[dict[tuple[str, str], str]]()


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
        """Whatever fails inside is left to ``test``, where that one fails too.

        Then this test is skipped, but only if ``test`` is part of this session; else it fails with the cause, so that
        no selection of tests passes over a fault.

        Args:
            test: name of a test of the same class.
            parameter: its parameter, by name, where it has one.
        """
        try:
            yield
        except FAILURES:
            cause = self.fault(test, **parameter)
            if not cause:
                raise
            self.wait(test, cause, **parameter)

    def fault(self, test: str, **parameter: str) -> str:
        """What ``test`` fails with, in a line or more; empty where it passes, or skips."""
        faults = self._request.session.stash.setdefault(_FAULTS, {})
        key = (self._class.nodeid, _id(test, parameter))
        if key not in faults:
            faults[key] = self._outcome(test, parameter)
        return faults[key]

    def _outcome(self, test: str, parameter: dict[str, str]) -> str:
        function = getattr(self._request.instance, test)
        try:
            arguments: dict[str, Any] = {
                name: self._request.getfixturevalue(name)
                for name in inspect.signature(function).parameters
                if name not in parameter
            }
            function(**arguments, **parameter)
        except pytest.skip.Exception:
            return ""
        except FAILURES as error:
            return said(error)
        return ""

    def wait(self, test: str, cause: str, **parameter: str) -> NoReturn:
        """Skip, or fail where ``test`` is not part of this session."""
        name = _id(test, parameter)
        if self._is_selected(f"{self._class.nodeid}::{name}"):
            pytest.skip(f"waits for {name}: {cause}")
        pytest.fail(f"{cause}\n(what {name} reports, which this session leaves out)", pytrace=False)

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


def _id(test: str, parameter: dict[str, str]) -> str:
    return f"{test}[{'-'.join(parameter.values())}]" if parameter else test
