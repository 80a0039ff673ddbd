"""A child that serves functions of a module: what it returns, raises and says when it is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aligntune_core.launch.child import Child, Ended, call_once, death


def test_a_function_over_there_is_called_and_what_it_raises_is_raised_here() -> None:
    child = Child("json")
    assert child.call("loads", ("[1, 2]",)) == [1, 2]
    with pytest.raises(json.JSONDecodeError) as caught:
        child.call("loads", ("[1,",))
    assert caught.value.pos == 3
    assert child.call("dumps", ([1],), {"indent": 1}) == "[\n 1\n]"
    child.end("the test")
    with pytest.raises(Ended, match=r"^the worker process was ended by the test$"):
        child.call("loads", ("[]",))


def test_what_cannot_be_imported_is_told_by_the_first_call() -> None:
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        call_once("not_there_at_all", "run", timeout=60)


def test_a_child_that_dies_is_told_with_its_last_words(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os, sys; print('last words', file=sys.stderr, flush=True); os._exit(3)"
    with pytest.raises(Ended) as caught:
        call_once("builtins", "exec", code, timeout=60)
    assert caught.value.fate == "ended with exit code 3"
    assert caught.value.output == "last words\n"
    assert capfd.readouterr() == ("", "")  # its output is its own
    with pytest.raises(Ended, match=r"was killed by SIGSEGV \(signal 11\)"):
        call_once("signal", "raise_signal", signal.SIGSEGV, timeout=60)


def test_a_child_that_takes_too_long_is_killed() -> None:
    child = Child("time")
    for _ in range(2):
        with pytest.raises(Ended, match=r"took more than 0\.5 s"):
            child.call("sleep", (60,), timeout=0.5)
        assert child.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (-9, "was killed by SIGKILL (signal 9; the system kills processes when memory runs out)"),
        (-15, "was killed by SIGTERM (signal 15)"),
        (-40, "was killed by a signal (signal 40)"),
    ],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert death(code) == words


PARENT = """
from aligntune_core.launch.child import Child
child = Child("time")
print(child.process.pid, flush=True)
child.call("sleep", (60,))
"""


def test_a_child_that_is_at_work_ends_with_its_killed_parent(
    tmp_path: Path, alive: Callable[[int], bool], gone: Callable[[int], bool]
) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert gone(child)
