"""Compare a run that resumes with the one that wrote the checkpoint, by the manifest beside it.

A checkpoint brings its own weights, optimiser and learning rate. Settings that it would overrule, or that do not fit
its weights, are refused; others that change the run are remarked on. Which are which, each field says (``on_resume``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.config.values import IN_MEMORY
from aligntune_core.errors import CheckpointError
from aligntune_core.run import manifest

if TYPE_CHECKING:
    from aligntune_core.config import Config


def check_resume(checkpoint: Path, config: Config, fingerprint: str) -> list[str]:
    """Remarks on a run that resumes from a complete checkpoint; none where no manifest lies beside that.

    Raises:
        CheckpointError: settings or rows differ that the checkpoint would overrule or that do not fit it.
    """
    from aligntune_core.algorithms import find
    from aligntune_core.config import plain
    from aligntune_core.config.keywords import keyword_of, on_resume

    record = manifest.read(checkpoint.parent)
    if record is None or not record.config:
        return []
    now = json.loads(json.dumps(plain(config), default=str))
    differences: dict[str, list[str]] = {"held": [], "changes": [], "free": [], "": []}
    for path, was, value in _changed(record.config, now):
        if path == "run.eval_steps" and config.run.eval_strategy != "steps":
            continue  # read by nobody
        text = f"{keyword_of(path)}={value!r}, there {was!r}"
        differences[on_resume(path, find(config.algorithm))].append(text)
    if fixed := differences["held"]:
        raise CheckpointError(
            f"{checkpoint} belongs to another run: {'; '.join(fixed)}. Set these as they were, or start a new run from "
            f'its weights with model_name="{checkpoint}" and another output_dir.'
        )
    if record.config.get("run", {}).get("save_only_model") and not has_optimizer(checkpoint):
        raise CheckpointError(weights_alone(checkpoint))
    remarks = [f"changed since {checkpoint.name}: {text}" for text in differences["changes"]]
    if record.dataset_fingerprint not in ("", fingerprint):
        remarks.append(f"the training rows are not those of {checkpoint.name}")
    step, last = step_of(checkpoint), config.optim.max_steps
    if last is not None and step >= last:
        remarks.append(f"{checkpoint.name} is at step {step} of {last}: nothing is left to train")
    return remarks


def has_optimizer(checkpoint: Path) -> bool:
    """Whether a checkpoint holds the optimiser's state, in a file or folder named after it."""
    return any(checkpoint.glob("optimizer*"))


def weights_alone(checkpoint: Path) -> str:
    """Why a checkpoint without optimiser cannot be resumed from, and what can be done with it."""
    return (
        f"{checkpoint} holds the weights without the optimiser (save_only_model=True): a run resumed from it would be "
        f'another one. Start a new run from the weights with model_name="{checkpoint}" and another output_dir, or '
        "train with save_only_model=False to have checkpoints to resume from"
    )


def _changed(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Path, value before and value now of each field that differs; one that either lacks is another version's."""
    for name in sorted(now.keys() & before.keys()):
        path, was, value = prefix + name, before[name], now[name]
        if _is_section(path) and isinstance(was, Mapping) and isinstance(value, Mapping):
            yield from _changed(was, value, f"{path}.")
        elif not _same(path, was, value):
            yield path, was, value


def _is_section(path: str) -> bool:
    from aligntune_core.config.keywords import section_of, sections, tree

    return path in sections() or (path in tree() and section_of(tree()[path].info) is not None)


def _same(path: str, before: Any, now: Any) -> bool:
    """Whether two values are equal; a model may be named by another path to the same folder.

    Rows in memory are compared by the fingerprint of what was read of them.
    """
    if path == "model.name" and isinstance(before, str) and isinstance(now, str):
        return before == now or Path(before).resolve() == Path(now).resolve()
    if path in ("data.dataset", "data.eval_dataset") and _in_memory(before) and _in_memory(now):
        return True
    return bool(before == now)


def _in_memory(value: Any) -> bool:
    return isinstance(value, Mapping) and IN_MEMORY in value


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])
