"""Is a checkpoint one of this very run? Its folder's manifest says what wrote it.

A checkpoint brings its own weights, optimiser and learning rate. Settings that it would overrule, or that do not fit
its weights, are refused; others that change the run are remarked on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligntune_core.errors import CheckpointError
from aligntune_core.run import manifest

if TYPE_CHECKING:
    from aligntune_core.config import Config

# What the checkpoint holds itself: weights of this shape, and the optimiser with its settings.
HELD = (
    "algorithm",
    "model.name",
    "peft.",
    "optim.learning_rate",
    "optim.optimizer",
    "optim.weight_decay",
    "optim.adam_",
)
# What takes effect from here on, so that the whole is no longer the run that either configuration describes.
CHANGES = (
    *("parameters.", "rewards.", "model.quantization.", "model.precision", "optim.lr_scheduler", "optim.max_grad_norm"),
    *("run.seed", "run.data_seed", "data.max_seq_length", "data.truncation_mode", "data.packing"),
    *("data.completion_only_loss", "data.group_by_length"),
)  # fmt: skip


def compare(checkpoint: Path, config: Config, fingerprint: str) -> list[str]:
    """Compare a run that is to be resumed with the one that wrote ``checkpoint``.

    Args:
        checkpoint: a complete checkpoint; where no manifest lies beside it, there is nothing to compare.
        config: of the run that resumes.
        fingerprint: of its training rows.

    Returns:
        list[str]: remarks for the log.

    Raises:
        CheckpointError: settings differ that the checkpoint would overrule or that do not fit it.
    """
    from aligntune_core.config import keyword_of, plain

    written = manifest.read(checkpoint.parent)
    if written is None or not written.config:
        return []
    now = dict(_flat(json.loads(json.dumps(plain(config), default=str))))
    before = dict(_flat(written.config))
    differ = [p for p in now.keys() & before.keys() if not _same(p, before[p], now[p])]
    told = {p: f"{keyword_of(p)}={now[p]!r}, there {before[p]!r}" for p in sorted(differ)}
    held = [text for path, text in told.items() if path.startswith(HELD)]
    if held:
        raise CheckpointError(
            f"{checkpoint} belongs to another run: {'; '.join(held)}. Set these as they were, or start a new run from "
            f'its weights with model_name="{checkpoint}" and another output_dir.'
        )
    remarks = [f"changed since {checkpoint.name}: {t}" for p, t in told.items() if p.startswith(CHANGES)]
    if written.dataset_fingerprint not in ("", fingerprint):
        remarks.append(f"the training rows are not those of {checkpoint.name}")
    step, last = step_of(checkpoint), config.optim.max_steps
    if last is not None and step >= last:
        remarks.append(f"{checkpoint.name} is at step {step} of {last}: nothing is left to train")
    return remarks


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and "in_memory" not in value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _same(path: str, before: Any, now: Any) -> bool:
    """Equality; a model may be named by another path to the same place, or be an object both times."""
    if path == "model.name" and isinstance(before, str) and isinstance(now, str):
        return before == now or Path(before).resolve() == Path(now).resolve()
    return bool(before == now)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])
