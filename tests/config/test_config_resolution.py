"""Resolving: first for a device, then for a number of rows."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.config import Config, paths
from aligntune_core.config.keywords import tree
from aligntune_core.config.resolve.resolution import resolve, resolve_steps
from aligntune_core.errors import ConfigError
from aligntune_core.fields import extra_of
from aligntune_core.types import Device

if TYPE_CHECKING:
    from tests.config.conftest import Make

CPU = Device(kind="cpu")
GPU = Device(kind="cuda", name="H", bf16=True)
OLD_GPU = Device(kind="cuda", name="V")


@pytest.mark.parametrize(
    ("device", "precision", "checkpointing"),
    [(CPU, "fp32", False), (GPU, "bf16", True), (OLD_GPU, "fp32", True)],
)
def test_the_device_decides_what_was_left_open(
    sft: Make, device: Device, precision: str, checkpointing: bool
) -> None:
    config = resolve(sft(), device)
    assert (config.model.precision, config.optim.gradient_checkpointing) == (precision, checkpointing)
    assert config.sources["model.precision"].startswith(f"resolved: {device.kind} has")
    assert config.sources["optim.gradient_checkpointing"] == f"resolved: device {device.kind}"


def test_the_device_changes_nothing_that_was_said(sft: Make) -> None:
    config = resolve(sft(precision="fp32", gradient_checkpointing=False), GPU)
    assert (config.model.precision, config.optim.gradient_checkpointing) == ("fp32", False)
    assert config.sources["model.precision"] == "call"


@pytest.mark.parametrize(
    ("precision", "asked", "dtype"),
    [("bf16", "auto", "bfloat16"), ("fp32", "auto", "float32"), ("bf16", "float16", "float16")],
)
def test_the_dtype_of_quantised_products_follows_precision(
    sft: Make, precision: str, asked: str, dtype: str
) -> None:
    quantization = {"load_in_4bit": True, "bnb_4bit_compute_dtype": asked}
    found = resolve(sft(precision=precision, quantization=quantization), GPU).model.quantization
    assert found is not None
    assert found.bnb_4bit_compute_dtype == dtype


def test_fp16_does_not_train_on_a_cpu(sft: Make) -> None:
    with pytest.raises(ConfigError, match='"fp16" does not train on a CPU'):
        resolve(sft(precision="fp16"), CPU)


@pytest.mark.parametrize("algorithm", ["sft", "dpo", "ppo", "grpo", "gspo", "dapo", "dr_grpo", "reward"])
def test_nothing_stays_open(sft: Make, rl: Make, algorithm: str) -> None:
    config = resolve_steps(resolve(sft() if algorithm == "sft" else rl(algorithm), CPU), 100)
    entries = tree()
    for path, value in paths(config).items():
        assert value != "auto" or path == "backend", path
        if value is None and path in entries:
            assert extra_of(entries[path].info).get("off"), path
    for path, value in paths(config).items():
        if path.startswith("parameters.") and value is None:
            info = type(config.parameters).model_fields[path.partition(".")[2]]
            assert extra_of(info).get("off"), path


def test_a_field_that_nobody_gives_a_value_is_refused(sft: Make) -> None:
    config = sft()
    bare = config.model_copy(update={"optim": config.optim.model_copy(update={"learning_rate": None})})
    with pytest.raises(ConfigError, match="learning_rate: sft has no default for it; give it"):
        resolve(bare, CPU)


def one_by_one(rows: int, batch: int, accumulation: int, epochs: float) -> int:
    """Steps of a training loop that really steps: whole epochs, then as much of the last one as asked for."""
    per_epoch = 0
    waiting = 0
    for start in range(0, rows, batch):
        waiting += 1
        if waiting == accumulation or start + batch >= rows:
            per_epoch += 1
            waiting = 0
    return math.ceil(per_epoch * epochs)


@pytest.mark.parametrize(
    ("rows", "batch", "accumulation"), list(product((1, 7, 8, 9, 100, 101), (1, 3, 8), (1, 2, 5, 16)))
)
def test_steps_are_counted_as_a_loop_takes_them(sft: Make, rows: int, batch: int, accumulation: int) -> None:
    for epochs in (1, 3, 0.5):
        config = sft(
            batch_size=batch, gradient_accumulation_steps=accumulation, num_epochs=epochs, warmup_ratio=0.03
        )
        resolved = resolve_steps(resolve(config, CPU), rows)
        steps = one_by_one(rows, batch, accumulation, epochs)
        assert resolved.optim.max_steps == steps
        assert resolved.optim.warmup_steps == math.ceil(steps * 0.03)


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_take_as_many_steps_as_one_alone(sft: Make, world_size: int) -> None:
    for rows, batch in product((1, 7, 8, 9, 100, 101), (1, 3, 8)):
        config = resolve(sft(batch_size=batch, gradient_accumulation_steps=8, num_epochs=2), CPU)
        alone, together = resolve_steps(config, rows), resolve_steps(config, rows, world_size)
        assert together.optim.max_steps == alone.optim.max_steps


@pytest.mark.parametrize(
    ("accumulation", "world_size", "near"),
    [(4, 3, "take 3 or 6"), (1, 4, "take 4,"), (10, 4, "take 8 or 12")],
)
def test_processes_must_divide_the_accumulation(
    sft: Make, accumulation: int, world_size: int, near: str
) -> None:
    config = resolve(sft(gradient_accumulation_steps=accumulation), CPU)
    with pytest.raises(ConfigError, match=f"{world_size} processes do not divide .*={accumulation}: {near}"):
        resolve_steps(config, 100, world_size)


@pytest.mark.parametrize(
    ("keywords", "rows", "steps", "warmup"),
    [
        ({"max_steps": 7, "num_epochs": 2}, 100, 7, 0),
        ({"max_steps": 7, "warmup_ratio": 0.5}, 100, 7, 4),
        ({"max_steps": 7, "warmup_steps": 100}, 100, 7, 100),
        ({"packing": True}, 100, None, 0),
        ({"packing": True, "warmup_ratio": 0.1}, 100, None, None),
        ({"packing": True, "max_steps": 20, "warmup_ratio": 0.1}, 100, 20, 2),
        ({"streaming": True, "max_steps": 20, "warmup_ratio": 0.1}, None, 20, 2),
    ],
)
def test_steps_that_are_given_or_cannot_be_told(
    sft: Make, keywords: dict[str, Any], rows: int | None, steps: int | None, warmup: int | None
) -> None:
    config = resolve_steps(resolve(sft(**keywords), CPU), rows)
    assert (config.optim.max_steps, config.optim.warmup_steps) == (steps, warmup)


def test_unknown_rows_need_max_steps(sft: Make) -> None:
    with pytest.raises(ConfigError, match="max_steps is missing"):
        resolve_steps(resolve(sft(), CPU), None)


def test_no_rows_make_no_step(rl: Make) -> None:
    config = resolve(rl("grpo", num_generations=8, batch_size=32), CPU)
    with pytest.raises(ConfigError, match="3 rows make no step with batch_size=32"):
        resolve_steps(config, 3)


def test_decisions_are_told_with_their_reason(sft: Make) -> None:
    config = resolve_steps(resolve(sft(warmup_ratio=0.1, num_epochs=2), CPU), 80)
    assert config.sources["optim.max_steps"] == "resolved: 2 epochs of 80 rows"
    assert config.sources["optim.warmup_steps"] == "resolved: 0.1 of 20 steps"
    assert config.sources["optim.warmup_ratio"] == "call"


@pytest.mark.parametrize(
    ("algorithm", "use_peft", "rate", "epochs"),
    [
        ("sft", None, 2e-4, 3.0), ("sft", False, 2e-5, 3.0),
        ("dpo", True, 1e-5, 1.0), ("dpo", False, 1e-6, 1.0),
        ("grpo", None, 1e-5, 1.0), ("ppo", None, 3e-5, 1.0),
    ],
)  # fmt: skip
def test_defaults_by_algorithm_and_adapter(
    sft: Make, rl: Make, algorithm: str, use_peft: bool | None, rate: float, epochs: float
) -> None:
    config = sft(use_peft=use_peft) if algorithm == "sft" else rl(algorithm, use_peft=use_peft)
    assert (config.optim.learning_rate, config.optim.num_epochs) == (rate, epochs)
    how = "full fine-tuning" if use_peft is False else "LoRA"
    assert config.sources["optim.learning_rate"].startswith(f"default for {algorithm} with {how} (")


def test_defaults_that_follow_other_fields(sft: Make) -> None:
    config = sft(batch_size=3, seed=9, logging_steps=5)
    assert (config.optim.eval_batch_size, config.run.data_seed, config.run.eval_steps) == (3, 9, 5)
    assert config.sources["run.data_seed"] == "default: seed"
    assert (config.peft.enabled, config.peft.target_modules, config.data.completion_only_loss) == (
        True, "all-linear", True
    )  # fmt: skip


def test_a_resolved_configuration_is_a_configuration(sft: Make) -> None:
    assert isinstance(resolve(sft(), CPU), Config)
