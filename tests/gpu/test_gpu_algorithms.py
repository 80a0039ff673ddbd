"""Every algorithm with QLoRA on a billion weights, in one process a backend: runs benchmarks/gpu_algorithms.py."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.backend, pytest.mark.gpu, pytest.mark.timeout(1200)]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_algorithms.py"
STEPS = 10
LINEAR_LAYERS = 16 * 7
OFFLINE = ("sft", "dpo", "kto", "reward")
ONLINE = ("ppo", "grpo", "gspo", "dapo", "dr_grpo")


@pytest.fixture(scope="module", params=["trl", "unsloth"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if find_spec(f"aligntune_{name}") is None:
        pytest.skip(f"aligntune-{name} is not installed")
    return name


@pytest.fixture(scope="module")
def runs(backend: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    folder = tmp_path_factory.mktemp("algorithms")
    out = folder / f"{backend}-all.json"
    subprocess.run(
        [sys.executable, SCRIPT, "--backends", backend, "--out", out, "--work", folder / "work"],
        check=True,
        timeout=1150,
    )
    found: dict[str, dict[str, Any]] = json.loads(out.read_text())["backends"][backend]["algorithms"]
    return found


@pytest.mark.parametrize("algorithm", [*OFFLINE, *ONLINE])
def test_trains_with_qlora(runs: dict[str, dict[str, Any]], backend: str, algorithm: str) -> None:
    run = runs[algorithm]
    if (backend, algorithm) == ("unsloth", "gspo"):
        assert 'use backend="trl"' in run["not offered"]
        return
    assert "error" not in run, run["trace"]
    assert run["steps"] == STEPS
    assert run["device"].startswith("cuda")
    assert run["four_bit_layers"] == LINEAR_LAYERS
    assert run["moved_tensors"] == run["trained_tensors"] >= 2 * LINEAR_LAYERS
    assert len(run["loss"]) == STEPS
    assert all(map(math.isfinite, (*run["loss"], *run["grad_norm"])))
    assert max(run["grad_norm"]) > 0
    if algorithm == "dpo":
        assert run["loss"][0] == pytest.approx(math.log(2), abs=1e-2)
    if algorithm in ONLINE:
        assert all(math.isfinite(reward) for reward in run["reward"] if reward is not None)
        assert len(set(run["reward"])) > 1


def test_peak_memory_is_that_of_four_bit_weights(runs: dict[str, dict[str, Any]]) -> None:
    """In 16 bits the weights take 1.5 GB more."""
    assert 1.0e9 < runs["sft"]["peak_bytes"] < 6.5e9
