"""Rank and size of this process's group, as launchers announce them in the environment."""

from __future__ import annotations

import os


def rank() -> int:
    """Rank of this process; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes that train together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process creates the run folder, writes, prints and draws."""
    return rank() == 0
