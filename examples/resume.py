"""Stop a run in the middle and go on later, to the same weights as an uninterrupted run.

Ctrl-C or SIGTERM saves a checkpoint and returns. After a crash or a power cut the last complete checkpoint of
``save_steps`` is there, and the same call goes on from it.
"""

import signal
from typing import Any

from transformers import TrainerCallback

from aligntune import create_sft_trainer


class PressCtrlC(TrainerCallback):
    """Stands in for somebody who presses Ctrl-C during step 25."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 25:
            signal.raise_signal(signal.SIGINT)


settings: dict[str, Any] = {
    "model_name": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "dataset_name": "tatsu-lab/alpaca",
    "split": "train[:1000]",
    "max_steps": 60,
    "batch_size": 4,
    "save_steps": 20,
    "save_total_limit": 2,
    "output_dir": "runs/resume",
}

first = create_sft_trainer(**settings, callbacks=[PressCtrlC()]).train()
print(first["stopped"], first["total_steps"], first["model_path"])

second = create_sft_trainer(**settings).train(resume=True)
print(second["stopped"], second["total_steps"], second["model_path"])
