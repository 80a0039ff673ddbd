"""``aligntune.json``: what a run was, enough to repeat it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from aligntune_core.config.record import MANIFEST

SCHEMA = 1
"""Grows when a key changes its meaning or goes; a further key is no reason."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``aligntune.json``. Those from ``total_steps`` on are in the file when the run is over.

    Attributes:
        aligntune: version that wrote it.
        schema: of the file; files of release 1.0 hold none and read as 1.
        state: "running", "finished", "stopped" or "failed".
        algorithm, backend: names.
        backend_reason: why this backend.
        config: the resolved configuration, secrets left out.
        sources: config path -> where its value came from, so that a repeat knows what was chosen.
        repeatable: whether the run can be repeated from this file: nothing was in memory, and it started anew.
        effective: config path -> value in force, as the backend's own objects hold it.
        versions: distribution -> version.
        device: kind, name, bf16, count, memory_bytes.
        world_size: processes.
        dataset: the report on the rows.
        dataset_fingerprint: hash of the canonical rows.
        rows_given, rows_dropped: rows read, and left out; None where the rows are a stream.
        seed: of the run.
        started, written: local times, ISO 8601 with offset.
        metrics: the engine's final figures.
        peak_memory_bytes: "host", and "device" where there is one.
        total_steps: optimiser steps taken, those before a resume included.
        final_loss: of the last logged step.
        training_time: seconds of ``train()``.
        model_path: folder of the result.
        stopped: why the run ended early.
        error: type and text of the error that ended it.
    """

    aligntune: str = ""
    schema: int = SCHEMA
    state: str = ""
    algorithm: str = ""
    backend: str = ""
    backend_reason: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    effective: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    device: Mapping[str, Any] = field(default_factory=dict)
    world_size: int = 1
    dataset: Mapping[str, Any] = field(default_factory=dict)
    dataset_fingerprint: str = ""
    rows_given: int | None = None
    rows_dropped: int | None = None
    seed: int | None = None
    started: str = ""
    written: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    peak_memory_bytes: Mapping[str, int] = field(default_factory=dict)
    total_steps: int | None = None
    final_loss: float | None = None
    training_time: float | None = None
    model_path: str | None = None
    stopped: str | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The file's content."""
        content = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        absent = {"error"} if self.error is None else set()
        if self.total_steps is None:  # the run is not over
            absent |= {"total_steps", "final_loss", "training_time", "model_path", "stopped"}
        return {name: value for name, value in content.items() if name not in absent}


def write(folder: Path, manifest: Manifest) -> Path:
    """Write atomically: a reader, or a crash, never meets half a file."""
    path = folder / MANIFEST
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    temporary.write_text(json.dumps(manifest.as_dict(), indent=2, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def read(folder: Path) -> Manifest | None:
    """The manifest in ``folder``, or None where there is none. Keys of a later release are passed over.

    Raises:
        ValueError: the file is no JSON object.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    names = {entry.name for entry in fields(Manifest)}
    return Manifest(**{name: value for name, value in content.items() if name in names})


def now() -> str:
    """Local time with offset, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
