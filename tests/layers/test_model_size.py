"""What ``plan`` says of a policy's size is what training then has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config import Config, load_config
from aligntune_core.config.resolve.resolution import resolve
from aligntune_core.model.size import PolicySize, policy_size
from aligntune_core.testing.tiny import make_tokenizer
from aligntune_core.types import Device
from tests.layers.architectures import write


def _size(folder: Path, algorithm: str = "sft", **settings: Any) -> PolicySize:
    size = policy_size(_config(folder, algorithm, **settings))
    assert size is not None
    return size


def _config(folder: Path, algorithm: str = "sft", **settings: Any) -> Config:
    loaded = load_config(
        {"algorithm": algorithm, "model_name": str(folder), "dataset_name": "rows.jsonl", **settings}
    )
    return resolve(loaded, Device(kind="cpu", name="CPU"))


@pytest.fixture(params=["llama", "qwen3_moe"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write(request.param, tmp_path, make_tokenizer())
    return tmp_path


@pytest.mark.backend
@pytest.mark.parametrize(
    "settings",
    [{}, {"lora_r": 4}, {"use_dora": True}, {"modules_to_save": ["embed_tokens"]}, {"use_peft": False}],
    ids=["lora", "rank", "dora", "whole", "full"],
)
def test_the_parameters_are_those_that_a_run_trains(folder: Path, settings: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from aligntune_core.model.targets import resolve_targets

    config = _config(folder, **settings)
    size = policy_size(config)
    assert size is not None
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    if config.peft.enabled:
        arguments = resolve_targets(model, config.peft).arguments()
        lora = LoraConfig(
            r=config.peft.r,
            use_dora=config.peft.use_dora,
            modules_to_save=config.peft.modules_to_save,
            task_type="CAUSAL_LM",
            **arguments,
        )
        model = get_peft_model(model, lora)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert size.trained == trained
    if "modules_to_save" not in settings:
        assert size.parameters == trained + frozen
        frozen_bytes = frozen * (2 if config.model.precision == "bf16" else 4)
        assert size.memory_bytes == frozen_bytes + trained * 16  # weight, gradient, AdamW's two


@pytest.mark.backend
def test_what_memory_follows_from(tmp_path: Path) -> None:
    write("llama", tmp_path, make_tokenizer())
    adapter = _size(tmp_path)
    four_bit = _size(tmp_path, load_in_4bit=True)
    full = _size(tmp_path, use_peft=False)
    with_reference = _size(tmp_path, "dpo", use_peft=False)
    plain = _size(tmp_path, use_peft=False, optim="sgd")
    unknown = _size(tmp_path, use_peft=False, optim="adafactor")
    scores = _size(tmp_path, "reward")
    assert four_bit.memory_bytes < adapter.memory_bytes
    assert with_reference.memory_bytes == full.memory_bytes + full.parameters * 4
    assert plain.memory_bytes == full.parameters * 8
    assert full.optimizer_counted
    assert not unknown.optimizer_counted
    assert scores.trained > adapter.trained  # its head is trained whole
