"""How long a user waits for the first line: CPU time, medians of ten processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import pytest


def cpu_seconds(words: list[str]) -> float:
    """CPU time, user and system, that one run of the command takes."""
    code = f"import sys; sys.argv = ['aligntune', *{words!r}]; from aligntune.cli import main; main()"
    before = os.times()
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.parametrize(
    ("words", "limit"), [(["--help"], 0.25), (["backends"], 0.45)], ids=["help", "backends"]
)
def test_start_up_is_quick(words: list[str], limit: float) -> None:
    cpu_seconds(words)  # writes .pyc files
    medians = []
    for _ in range(3):  # a busy machine makes CPU time dearer, never cheaper: one quiet round is proof
        medians.append(statistics.median(cpu_seconds(words) for _ in range(10)))
        if medians[-1] < limit:
            break
    assert min(medians) < limit, medians
