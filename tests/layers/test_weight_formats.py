"""Checkpoints stored quantised: what this machine cannot load, or nobody can train, is refused by the plan."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.errors import ConfigError
from aligntune_core.pipeline.plan import plan

pytestmark = pytest.mark.backend

FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {  # name -> (library, words, settings)
    "gptq": ("optimum", "optimum", {"bits": 4, "group_size": 128, "desc_act": False}),
    "awq": ("gptqmodel", "gptqmodel", {"bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}),
    "compressed-tensors": (
        "compressed_tensors",
        "pip install compressed-tensors",
        {"format": "pack-quantized"},
    ),
    "aqlm": ("aqlm", r"pip install aqlm", {"nbits_per_codebook": 16}),
    "hqq": ("hqq", "HQQ", {"quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}}),
    "bitnet": ("", "cannot train an adapter on", {}),
    "exl2": ("", "Unknown quantization type, got exl2", {"bits": 4.0}),
}


def _stored(folder: Path, into: Path, settings: dict[str, Any]) -> Path:
    """A copy of a model that says its weights are stored so, without any weights."""
    shutil.copytree(folder, into)
    for file in into.glob("*.safetensors"):
        file.rename(file.with_suffix(".gone"))
    content = json.loads((into / "config.json").read_text())
    (into / "config.json").write_text(json.dumps({**content, "quantization_config": settings}))
    return into


def _plan(folder: Path, backend: str) -> Any:
    rows = [{"prompt": "Say where", "completion": "Paris"}]
    return plan({"algorithm": "sft", "model_name": str(folder), "dataset_name": rows, "backend": backend})


@pytest.mark.parametrize("backend", ["trl", "torch"])
@pytest.mark.parametrize("method", FORMATS)
def test_refused_by_the_plan(method: str, backend: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    library, words, settings = FORMATS[method]
    if library and find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    folder = _stored(tiny_model_dir, tmp_path / method, {"quant_method": method, **settings})
    with pytest.raises(ConfigError, match=rf"stored quantised \({method}\).*{words}"):
        _plan(folder, backend)


def test_four_bit_checkpoints_are_for_trl_alone(tiny_model_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    folder = _stored(tiny_model_dir, tmp_path / "bnb", settings)
    assert _plan(folder, "trl").config.peft.target_modules == "all-linear"
    with pytest.raises(ConfigError, match="trains on plain weights only"):
        _plan(folder, "torch")
