"""Whether a worker process is still there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not _is_alive(pid)


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """``alive(pid)``: it runs now."""
    return _is_alive


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """``gone(pid)``: it has ended, or does within 20 s."""
    return _is_gone
