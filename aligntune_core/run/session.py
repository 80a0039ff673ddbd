"""One run's shared state: its folder, metric sink and stop flag, as a ``RunContext`` for the engine."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from aligntune_core.model.device import peak_memory
from aligntune_core.run.checkpoints import checkpoint_dir
from aligntune_core.run.events import MetricsSink
from aligntune_core.run.folder import CACHE, RunFolder
from aligntune_core.run.signals import StopFlag
from aligntune_core.run.topology import is_main, world
from aligntune_core.types import RunContext, Topology


class RunSession:
    """Lives as long as its Trainer; progress is attached while ``train()`` runs."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.stop = StopFlag()
        self.sink = MetricsSink(folder.metrics if is_main() else None)

    @property
    def log(self) -> Path | None:
        """The log file, on the process that writes."""
        return self.folder.log if is_main() else None

    def context(self, topology: Topology | None = None) -> RunContext:
        """The context that the backend gets; the topology is as its ``prepare`` had it, or as launchers announce it."""
        return RunContext(
            output_dir=self.folder.path,
            cache_dir=self.folder.path / CACHE,
            artifact=self.folder.artifact,
            topology=topology or world(),
            checkpoint_dir=lambda step: checkpoint_dir(self.folder.path, step),
            emit=self.sink,
            stop=self.stop,
        )


def peak_memory_bytes() -> dict[str, int]:
    """Peak memory of this process in bytes: "host", and "device" where torch has used one."""
    unit = 1 if sys.platform == "darwin" else 1024
    peaks = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if (device := peak_memory()) is not None:
        peaks["device"] = device
    return peaks
