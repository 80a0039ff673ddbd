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
    """The content of ``aligntune.json``; what it holds of the end of a run is left out before."""

    aligntune: str = ""  # version that wrote it
    schema: int = SCHEMA  # files of release 1.0 hold none and read as 1
    state: str = ""  # "running", "finished", "stopped" or "failed"
    algorithm: str = ""
    backend: str = ""
    backend_reason: str = ""  # why this backend
    config: Mapping[str, Any] = field(default_factory=dict)  # resolved, secrets left out
    sources: Mapping[str, str] = field(default_factory=dict)  # config path -> where its value came from
    repeatable: bool = False  # nothing was in memory, and the run started anew
    effective: Mapping[str, Any] = field(
        default_factory=dict
    )  # config path -> value, as the backend's objects hold it
    versions: Mapping[str, str] = field(default_factory=dict)  # distribution -> version
    device: Mapping[str, Any] = field(default_factory=dict)  # kind, name, bf16, count, memory_bytes
    world_size: int = 1  # processes
    dataset: Mapping[str, Any] = field(default_factory=dict)  # the report on the rows
    dataset_fingerprint: str = ""  # hash of the canonical rows
    rows_given: int | None = None  # rows read; None for a stream, as the next
    rows_dropped: int | None = None  # of these left out
    seed: int | None = None
    started: str = ""  # local time, ISO 8601 with offset
    written: str = ""  # likewise
    metrics: Mapping[str, Any] = field(default_factory=dict)  # the engine's final figures
    peak_memory_bytes: Mapping[str, int] = field(
        default_factory=dict
    )  # "host", and "device" where there is one
    total_steps: int | None = None  # optimiser steps taken, those before a resume included
    final_loss: float | None = None  # of the last logged step
    training_time: float | None = None  # seconds of ``train()``
    model_path: str | None = None  # folder of the result
    stopped: str | None = None  # why the run ended early
    error: str | None = None  # type and text of the error that ended it

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
