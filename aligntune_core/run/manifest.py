"""``aligntune.json``: what a run was, enough to repeat it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aligntune_core.config.record import MANIFEST


def write(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write atomically: a reader, or a crash, never meets half a file."""
    path = folder / MANIFEST
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    temporary.write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest in ``folder``, or None where there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def now() -> str:
    """Local time with offset, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
