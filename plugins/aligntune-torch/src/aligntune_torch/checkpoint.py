"""What a checkpoint holds beside the weights: optimiser, schedule, random state, and last of all the step."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file

from aligntune_core.toolkit import CheckpointError, checkpoints

STATE = "trainer_state.json"
OPTIMIZER = "optimizer.pt"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps taken.
        loss_sum: of the losses of all of them.
        epoch: passes over the rows.
        unlogged: figures of each step since the last log.
    """

    step: int
    loss_sum: float
    epoch: float = 0.0
    unlogged: list[dict[str, float]] = field(default_factory=list)


def save(folder: Path, progress: Progress, optimizer: Any, schedule: Any) -> None:
    """Write the training state; ``trainer_state.json`` comes last and makes the checkpoint count as complete."""
    state = {
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    torch.save(state, folder / OPTIMIZER)
    values = asdict(progress)
    (folder / STATE).write_text(json.dumps({"global_step": values.pop("step"), **values}))


def load(folder: Path, model: Any, optimizer: Any, schedule: Any) -> Progress:
    """Restore weights and training state; returns how far the run is."""
    state = torch.load(folder / OPTIMIZER, weights_only=True)
    if "schedule" not in state:
        raise CheckpointError(
            f'{folder} is another backend\'s, whose optimiser backend "torch" cannot go on with. Resume it on the '
            "backend that wrote it, or start a new run from its weights with model_name and another output_dir"
        )
    weights = {k: v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()}
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, weights)
    else:
        model.load_state_dict(weights, strict=False)  # tied weights are stored once
        model.tie_weights()
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    values = json.loads((folder / STATE).read_text())
    return Progress(values.pop("global_step"), **values)


def rotate(output_dir: Path, keep: int | None) -> None:
    """Remove the oldest checkpoints beyond ``keep``."""
    for folder in checkpoints(output_dir)[:-keep] if keep else []:
        shutil.rmtree(folder)
