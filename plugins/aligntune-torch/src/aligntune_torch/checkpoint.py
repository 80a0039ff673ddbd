"""What a checkpoint holds beside the weights: optimiser, schedule, random state, and last of all the step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file

from aligntune_core.toolkit import CheckpointError, checkpoints, weights_alone

STATE = "trainer_state.json"
OPTIMIZER = "optimizer.pt"


def save_optimizer(folder: Path, optimizer: Any, schedule: Any) -> None:
    """Write the state of optimiser, schedule and random numbers."""
    state = {
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    torch.save(state, folder / OPTIMIZER)


def save_progress(folder: Path, **progress: Any) -> None:
    """Write how far the run has come; it comes last and makes the checkpoint count as complete."""
    (folder / STATE).write_text(json.dumps(progress))


def load(folder: Path, model: Any, optimizer: Any, schedule: Any) -> dict[str, Any]:
    """Restore weights and training state; returns what ``save_progress`` wrote."""
    if not (folder / OPTIMIZER).is_file():
        raise CheckpointError(weights_alone(folder))
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
    progress: dict[str, Any] = json.loads((folder / STATE).read_text())
    # Checkpoints of release 1.0 have none of these.
    return {"patience": {}, "epoch": 0.0, "unlogged": [], **progress}


def rotate(output_dir: Path, keep: int | None) -> None:
    """Remove the oldest checkpoints beyond ``keep``."""
    for folder in checkpoints(output_dir)[:-keep] if keep else []:
        shutil.rmtree(folder)
