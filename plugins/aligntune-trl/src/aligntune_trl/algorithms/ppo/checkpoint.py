"""What PPO writes beside transformers' own checkpoint files, and how it reads it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from aligntune_core.toolkit import CheckpointError
from aligntune_trl.algorithms.ppo.value_head import PolicyWithValue

VALUE_FILE = "value_function.safetensors"


def save_policy(policy: Any, folder: str | Path) -> None:
    """Write the policy so that plain transformers or peft load it; a frozen reference adapter is left out."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    if hasattr(policy, "peft_config"):
        policy.save_pretrained(folder, selected_adapters=[policy.active_adapter])
    else:
        policy.save_pretrained(folder)


def save_value_function(model: PolicyWithValue, folder: str | Path) -> None:
    """Write the value function beside the policy."""
    save_file({name: weight.cpu() for name, weight in model.value_state().items()}, Path(folder) / VALUE_FILE)


def load_value_function(model: PolicyWithValue, folder: str | Path) -> None:
    """Read what ``save_value_function`` wrote.

    Raises:
        CheckpointError: the folder holds none: it is a model, not a checkpoint.
    """
    path = Path(folder) / VALUE_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {VALUE_FILE}: it holds a policy but no PPO checkpoint. Resume from a checkpoint-N folder"
        )
    model.load_value_state(load_file(path))
