"""Two processes on one run: they share an evaluation, and one of them places the merged base. Real gloo, tiny model."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trl import processes_worker

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parent / "processes_worker.py"
Rows = list[dict[str, Any]]
Build = Callable[..., Any]

# Of the clock, and of the library's own counting of steps.
_TIMES = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


def launched(folder: Path, job: dict[str, Any], processes: int) -> list[dict[str, Any]]:
    """What each rank of a run wrote."""
    folder.mkdir(exist_ok=True)
    config = {
        "output_dir": str(folder / "run"),
        "backend": "trl",
        "precision": "fp32",
        "seed": 1,
        **job["config"],
    }
    (folder / "job.json").write_text(json.dumps({**job, "config": config}))
    if processes == 1:
        processes_worker.main(folder / "job.json")  # here, where the libraries are loaded already
        return [json.loads((folder / "rank-0.json").read_text())]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []
    for rank in range(processes):
        env = dict(os.environ, OMP_NUM_THREADS="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        command = [sys.executable, str(WORKER), str(folder / "job.json")]
        running.append(
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    try:
        for process in running:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output
    finally:
        for process in running:
            process.kill()
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(processes)]


def figures(values: dict[str, float]) -> dict[str, float]:
    """Without what the clock says."""
    return {name: value for name, value in values.items() if not name.endswith(_TIMES)}


def lines(folder: Path) -> list[dict[str, Any]]:
    """The evaluations in the run's ``metrics.jsonl``."""
    text = (folder / "run" / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if any(n.startswith("eval_") for n in line)]


@pytest.mark.parametrize("algorithm", ["sft", "dpo", "reward"])
def test_an_evaluation_of_two_processes_is_that_of_one(
    algorithm: str, tiny_model_dir: Path, sft_rows: Rows, dpo_rows: Rows, tmp_path: Path
) -> None:
    rows = sft_rows if algorithm == "sft" else dpo_rows
    config = {
        "algorithm": algorithm,
        "model_name": str(tiny_model_dir),
        "dataset_name": rows[:12],
        "eval_dataset": rows[12:19],  # 7 rows in batches of 2: four batches, the last of one row
        "eval_strategy": "steps",
        "eval_steps": 1,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "eval_batch_size": 2,
        "max_steps": 2,
        "learning_rate": 0.01,
    }
    job = {
        "config": config,
        "rows": rows[17:22],
    }  # 5 rows: three batches, so that one process has none at the end
    [one] = launched(tmp_path / "one", job, 1)
    two = launched(tmp_path / "two", job, 2)
    for which in ("held_out", "rows"):
        for rank in two:
            assert figures(rank[which]) == pytest.approx(figures(one[which]), abs=2e-5, rel=1e-4), which
    before, after = lines(tmp_path / "one"), lines(tmp_path / "two")
    # Two during training, one a call of evaluate: no process writes another's.
    assert [line["step"] for line in after] == [line["step"] for line in before] == [1, 2, 2, 2]
    if algorithm == "sft":
        assert two[1]["rows"]["perplexity"] == pytest.approx(math.exp(two[1]["rows"]["eval_loss"]))
    names = [{path.name for path in (tmp_path / n / "run").iterdir()} for n in ("one", "two")]
    assert names[0] == names[1]
    for line, other in zip(before, after, strict=True):
        assert figures(other) == pytest.approx(figures(line), abs=2e-5, rel=1e-4)


@pytest.mark.parametrize("algorithm", ["sft", "dpo", "reward", "kto"])
def test_the_uneven_end_of_an_epoch_is_that_of_one_process(
    algorithm: str, tiny_model_dir: Path, sft_rows: Rows, dpo_rows: Rows, tmp_path: Path
) -> None:
    """5 rows in micro-batches of 2, 2 and 1: in each second step one process has none left."""
    rows = (sft_rows if algorithm == "sft" else dpo_rows)[3:8]
    labels = [
        {"prompt": r["prompt"], "completion": r["chosen"], "label": i % 3 > 0} for i, r in enumerate(dpo_rows)
    ]
    config = {
        "algorithm": algorithm,
        "model_name": str(tiny_model_dir),
        "dataset_name": labels[3:8] if algorithm == "kto" else rows,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 5,
        "learning_rate": 0.01,
        **({"loss_type": "apo_zero_unpaired"} if algorithm == "kto" else {}),
    }
    job = {"config": config}
    launched(tmp_path / "one", job, 1)
    launched(tmp_path / "two", job, 2)
    before, after = trained(tmp_path / "one"), trained(tmp_path / "two")
    assert [line["step"] for line in after] == [line["step"] for line in before] == [1, 2, 3, 4, 5]
    for line, other in zip(before, after, strict=True):
        assert other == pytest.approx(line, abs=2e-5, rel=2e-3), line["step"]


def trained(folder: Path) -> list[dict[str, float]]:
    """The steps in the run's ``metrics.jsonl``, without the clock."""
    text = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [line for line in map(json.loads, text) if "loss" in line]
    return [{n: v for n, v in line.items() if n not in ("tokens_per_second", "epoch")} for line in steps]


def _merging(adapter: Path, rows: Rows) -> dict[str, Any]:
    """A job that folds ``adapter`` into its base and trains a fresh one."""
    config = {
        "algorithm": "sft",
        "model_name": str(adapter),
        "merge_adapter": True,
        "dataset_name": rows[:8],
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 1,
        "lora_r": 4,
    }
    return {"config": config, "save": True}


@pytest.fixture
def adapter(build: Build) -> Path:
    trainer = build("sft", "adapter", max_steps=1, lora_r=4)
    trainer.train()
    folder: Path = trainer.output_dir
    return folder


def _loads(folder: Path, run: Path) -> None:
    """The adapter in ``folder`` names the merged base of ``run``, and loads on it."""
    from peft import AutoPeftModelForCausalLM

    named = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(named) == run.resolve() / "base"
    assert AutoPeftModelForCausalLM.from_pretrained(folder).num_parameters() > 0


def test_the_merged_base_is_placed_after_an_earlier_run_is_set_aside(
    adapter: Path, sft_rows: Rows, tmp_path: Path
) -> None:
    earlier = tmp_path / "two" / "run"
    (earlier / "base").mkdir(parents=True)
    (earlier / "base" / "old").touch()
    (earlier / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    launched(tmp_path / "two", {**_merging(adapter, sft_rows), "late": {"0": 3}}, 2)
    assert (earlier / "earlier-run" / "1" / "base" / "old").is_file()
    _loads(earlier, earlier)
    _loads(tmp_path / "two" / "saved", earlier)


def test_one_process_of_two_replaces_the_merged_base_when_it_is_saved(
    adapter: Path, sft_rows: Rows, tmp_path: Path
) -> None:
    run = tmp_path / "two" / "run"
    (run / "base").mkdir(parents=True)
    for number in range(5000):  # long enough to remove that two processes would meet in it
        (run / "base" / str(number)).touch()
    launched(tmp_path / "two", {**_merging(adapter, sft_rows), "train": False}, 2)
    assert not (run / "base" / "0").exists()
    _loads(tmp_path / "two" / "saved", run)


def test_two_processes_wait_as_long_as_asked_and_stop_together(
    tiny_model_dir: Path, sft_rows: Rows, tmp_path: Path
) -> None:
    config = {
        "algorithm": "sft",
        "model_name": str(tiny_model_dir),
        "dataset_name": sft_rows,
        "eval_dataset": sft_rows[:4],
        "eval_steps": 1,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 6,
        "save_strategy": "no",
        "ddp_timeout": 77,
        "loraplus_lr_ratio": 4.0,
        "early_stopping_patience": 1,
        "early_stopping_threshold": 10.0,
    }
    ranks = launched(tmp_path / "two", {"config": config}, 2)
    assert [rank["patience"] for rank in ranks] == [77.0, 77.0]
    assert [line["step"] for line in lines(tmp_path / "two")] == [1, 2]
