"""One rank of a run of the TRL backend; test_trl_processes.py starts it with the variables of torchrun."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main(job: Path) -> None:
    """Train as ``job`` says, evaluate on the held-out rows and on others, and write what came of it."""
    import torch

    from aligntune import create_trainer

    torch.set_num_threads(1)
    work: dict[str, Any] = json.loads(job.read_text())
    rank, folder = os.environ.get("RANK", "0"), job.parent
    trainer = create_trainer(work["config"])
    result: dict[str, Any] = {}
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        group = torch.distributed.distributed_c10d._get_default_group()
        options = group._get_backend(torch.device("cpu")).options
        result["patience"] = options._timeout.total_seconds()
    time.sleep(work.get("late", {}).get(rank, 0))
    if work.get("train", True):
        result["train"] = trainer.train().metrics
    if "rows" in work:
        result["held_out"], result["rows"] = trainer.evaluate(), trainer.evaluate(work["rows"])
    if work.get("save"):
        trainer.save_model(folder / "saved")
    (folder / f"rank-{rank}.json").write_text(json.dumps(result))
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # one time in twenty, gloo's destructor waits for ever for a peer that has left
