"""Find checkpoints and tell complete ones from damaged ones without loading them.

A run that was killed while saving leaves a folder that looks like a checkpoint. Reading headers costs milliseconds and
finds every such folder.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from aligntune_core.config.record import CHECKPOINT
from aligntune_core.errors import CheckpointError

_NAME = re.compile(rf"{CHECKPOINT}(\d+)$")


def checkpoint_dir(output_dir: Path, step: int) -> Path:
    """The folder for the checkpoint of ``step``."""
    return output_dir / f"{CHECKPOINT}{step}"


def checkpoints(output_dir: Path) -> list[Path]:
    """All checkpoint folders, oldest first, complete or not."""
    if not output_dir.is_dir():
        return []
    numbered = [(int(m[1]), p) for p in output_dir.iterdir() if p.is_dir() and (m := _NAME.match(p.name))]
    return [p for _, p in sorted(numbered)]


def _safetensors_problem(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            return f"{path.name} is cut off"
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return f"{path.name} has an unreadable header"
    end = max((t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"), default=0)
    if size != 8 + length + end:
        return f"{path.name} has {size} bytes instead of {8 + length + end}"
    return None


def _json_problem(path: Path) -> str | None:
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return f"{path.name} does not parse"
    return None


def _shard_problem(index: Path) -> str | None:
    if fault := _json_problem(index):
        return fault
    shards = set(json.loads(index.read_text()).get("weight_map", {}).values())
    if missing := sorted(s for s in shards if not (index.parent / s).is_file()):
        return f"{missing[0]}, named by {index.name}, is missing"
    return None


def _archive_problem(path: Path) -> str | None:
    # torch also writes a legacy pickle format for tiny objects; only a zip can be checked for its end.
    if path.stat().st_size == 0 or (path.open("rb").read(2) == b"PK" and not zipfile.is_zipfile(path)):
        return f"{path.name} is cut off"
    return None


_WEIGHTS = {"*.safetensors": _safetensors_problem, "*.index.json": _shard_problem}
_CHECKPOINT = {"*.json": _json_problem, "*.pt": _archive_problem, **_WEIGHTS}


def _damage(folder: Path, kinds: Mapping[str, Callable[[Path], str | None]]) -> str | None:
    faults = (fault(path) for pattern, fault in kinds.items() for path in sorted(folder.glob(pattern)))
    return next(filter(None, faults), None)


def weights_problem(folder: Path) -> str | None:
    """Why weights in ``folder`` cannot be loaded, or None: a safetensors file is cut off, or a shard is missing."""
    return _damage(folder, _WEIGHTS)


def problem(folder: Path) -> str | None:
    """Why ``folder`` is not a complete checkpoint, or None.

    Checked: the trainer's state parses, safetensors files have the length that their header states, ``.pt`` archives
    end as they should, and all shards of an index are there.
    """
    if not folder.is_dir():
        return "it is not a folder"
    if not (folder / "trainer_state.json").is_file():
        return "trainer_state.json, which is written last, is missing"
    if not any(folder.glob("*.safetensors")):
        return "it holds no *.safetensors weights"
    return _damage(folder, _CHECKPOINT)


def last_complete(output_dir: Path) -> tuple[Path, list[str]]:
    """The newest complete checkpoint, and what was wrong with newer ones.

    Raises:
        CheckpointError: there is none.
    """
    skipped: list[str] = []
    for folder in reversed(checkpoints(output_dir)):
        why = problem(folder)
        if why is None:
            return folder, skipped
        skipped.append(f"{folder.name}: {why}")
    detail = f" ({'; '.join(skipped)})" if skipped else ""
    raise CheckpointError(
        f"{output_dir}: no complete checkpoint to resume from{detail}. Call train() to start from the beginning, "
        "or train(resume=FOLDER) with another checkpoint."
    )


def find(output_dir: Path, resume: bool | str | Path | None) -> tuple[Path | None, list[str]]:
    """The checkpoint that ``train(resume=...)`` means, and remarks for the log.

    Raises:
        CheckpointError: it does not exist or is damaged.
    """
    if resume is None or resume is False:
        return None, []
    if resume is True:
        return last_complete(output_dir)
    folder = Path(resume)
    if why := problem(folder):
        others = [p.name for p in checkpoints(output_dir) if problem(p) is None]
        raise CheckpointError(
            f"{folder} cannot be resumed from: {why}. "
            f"Complete checkpoints in {output_dir}: {', '.join(others) or 'none'}."
        )
    return folder, []
