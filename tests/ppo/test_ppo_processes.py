"""Two processes are one with twice the accumulation: figures, whitening, stops and weights, on fixed completions."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parent / "ddp_worker.py"


def launched(model: Path, out: Path, processes: int) -> dict[str, Any]:
    """The result of a run of the worker in so many processes."""
    out.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []
    for rank in range(processes):
        env = dict(os.environ, OMP_NUM_THREADS="1")
        if processes > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, str(WORKER), str(model), str(out), str(2 // processes)]
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
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


def test_two_processes_are_one_with_twice_the_accumulation(tiny_model_dir: Path, tmp_path: Path) -> None:
    one, two = (launched(tiny_model_dir, tmp_path / str(n), n) for n in (1, 2))
    for mine, theirs in zip(one["seen"], two["seen"], strict=True):
        assert sorted(zip(*mine[:3], strict=True)) == sorted(zip(*theirs[:3], strict=True))
        assert len(theirs[0]) == 4
    for line, other in zip(one["logs"], two["logs"], strict=True):
        for name in line:
            assert other[name] == pytest.approx(line[name], abs=2e-5, rel=1e-4), name
    for name, weight in one["weights"].items():
        assert torch.tensor(two["weights"][name]).allclose(torch.tensor(weight), atol=1e-5), name
    names = ("eval_reward", "eval_kl", "eval_completion_length", "eval_truncated")
    for name in names:
        assert two["evaluation"][name] == pytest.approx(one["evaluation"][name], abs=1e-5), name
