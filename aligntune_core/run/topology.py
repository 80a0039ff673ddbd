"""The place of this process among those that train together."""

from __future__ import annotations

from aligntune_core.types import Topology


def world() -> Topology:
    """This process's place, as launchers announce it in the environment; one process without a launcher."""
    return Topology.from_environment()


def world_size() -> int:
    """Number of processes that train together."""
    return world().world_size


def is_main() -> bool:
    """Whether this process creates the run folder, writes, prints and draws."""
    return world().is_main
