"""Writing a configuration into a manifest, what the user gave, and repeating a run from it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.config import (
    Config,
    changed,
    covers,
    in_memory,
    load_config,
    plain,
    written,
)
from aligntune_core.config.resolve.resolution import resolve, resolve_steps
from aligntune_core.types import Device

if TYPE_CHECKING:
    from tests.config.conftest import Make, Refused

CPU = Device(kind="cpu")
ALWAYS = {"algorithm", "model.name", "data.dataset"}


def length(completions: list[str], **columns: Any) -> list[float]:
    """A reward that another process finds under its name."""
    return [float(len(c)) for c in completions]


def manifest(folder: Path, config: Config) -> Path:
    """What a run writes down, as far as the configuration goes."""
    path = folder / "aligntune.json"
    path.write_text(json.dumps({"config": plain(config), "sources": config.sources, "backend": "trl"}))
    return path


@pytest.mark.parametrize(
    ("algorithm", "keywords"),
    [
        ("sft", {"packing": True, "completion_only_loss": False, "max_steps": 5}),
        (
            "sft",
            {"quantization": {"load_in_4bit": True}, "column_mapping": {"a": "prompt"}, "eval_split": "test"},
        ),
        ("dpo", {"beta": 0.3, "loss_type": ["sigmoid", "sft"], "loss_weights": [1, 0.5], "use_peft": False}),
        (
            "grpo",
            {"num_generations": 4, "rewards": ["length"], "reward_weights": [1.0], "max_seq_length": 512},
        ),
        ("dapo", {"rewards": [{"type": "length", "weight": 1.0, "params": {}}], "on_exhausted": "keep"}),
        ("ppo", {"reward_model_name": "org/reward", "response_length": 64}),
        ("reward", {}),
    ],
)
def test_a_manifest_repeats_the_run(
    sft: Make, rl: Make, tmp_path: Path, algorithm: str, keywords: dict[str, Any]
) -> None:
    first = sft(**keywords) if algorithm == "sft" else rl(algorithm, **keywords)
    assert load_config(plain(first)) == first
    resolved = resolve_steps(resolve(first, CPU), 100)
    again = load_config(manifest(tmp_path, resolved))
    assert resolve_steps(resolve(again, CPU), 100) == resolved
    assert again.algorithm == algorithm


def test_a_manifest_leaves_defaults_defaults(sft: Make, tmp_path: Path) -> None:
    resolved = resolve_steps(resolve(sft(lora_r=4, batch_size=8, warmup_ratio=0.1), CPU), 100)
    path = manifest(tmp_path, resolved)
    config = load_config(path)
    assert changed(config) == changed(resolved) == {"peft.r", "optim.warmup_ratio", *ALWAYS}
    assert (
        written(config) == written(resolved) == {"peft.r", "optim.batch_size", "optim.warmup_ratio", *ALWAYS}
    )
    assert config.sources["peft.alpha"] == f"default, as in file {path}"
    assert config.sources["optim.max_steps"] == f"resolved, as in file {path}"
    assert config.sources["peft.r"] == f"file {path}"


def test_a_manifest_that_names_no_sources_is_judged_by_its_values(sft: Make) -> None:
    config = load_config({"config": plain(sft(lora_r=4, batch_size=8))})
    assert changed(config) == written(config) == {"peft.r", *ALWAYS}


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("num_epochs=2", "max_steps", None),
        ("batch_size=4", "eval_batch_size", 4),
        ("max_steps=3", "max_steps", 3),
        ("warmup_ratio=0.5", "warmup_steps", None),
        ("learning_rate=1e-3", "max_steps", 39),
    ],
)
def test_what_followed_from_an_overridden_field_is_worked_out_again(
    sft: Make, tmp_path: Path, override: str, path: str, value: Any
) -> None:
    config = load_config(manifest(tmp_path, resolve_steps(resolve(sft(), CPU), 100)), overrides=[override])
    assert getattr(config.optim, path) == value


def test_what_was_chosen_in_a_manifest_stays(sft: Make, tmp_path: Path) -> None:
    path = manifest(tmp_path, resolve_steps(resolve(sft(max_steps=5, data_seed=1), CPU), 100))
    config = load_config(path, overrides=["num_epochs=2", "seed=9"])
    assert (config.optim.max_steps, config.run.data_seed) == (5, 1)


def test_a_file_keeps_what_it_says_under_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("algorithm: sft\nmodel_name: m\ndataset_name: d\nmax_steps: 5\ndata_seed: 1\n")
    config = load_config(path, overrides=["num_epochs=2", "seed=9"])
    assert (config.optim.max_steps, config.run.data_seed) == (5, 1)


def test_secrets_are_never_written(sft: Make) -> None:
    config = sft(
        token="hf_secret",
        backend_options={"api_key": "hf_secret", "depth": {"hub_token": "hf_secret"}, "eos_token": "</s>"},
    )
    text = json.dumps(plain(config))
    assert "hf_secret" not in text + repr(config.model) + str(config.sources)
    assert plain(config)["backend_options"] == {"depth": {}, "eos_token": "</s>"}
    assert load_config(plain(config)).model.token is None
    assert config.model.token is not None
    assert config.model.token.get_secret_value() == "hf_secret"


def test_objects_in_memory_are_written_by_type_and_hash(sft: Make, refused: Refused) -> None:
    rows = [{"text": "a"}]
    config = sft(dataset_name=rows, model_name=object(), callbacks=[object()])
    data = plain(config)["data"]["dataset"]
    assert data["in_memory"] == "list"
    assert data["sha256"] == plain(sft(dataset_name=[{"text": "a"}]))["data"]["dataset"]["sha256"]
    assert data["sha256"] != plain(sft(dataset_name=[{"text": "b"}]))["data"]["dataset"]["sha256"]
    assert plain(config, {"model.name": "abc"})["model"]["name"] == {"in_memory": "object", "sha256": "abc"}
    assert sorted(in_memory(config)) == ["data.dataset", "model.name", "run.callbacks"]
    assert in_memory(sft(token="x")) == []
    assert refused(load_config, plain(config)) == [
        f"{name} was an object in memory there, so the run cannot be repeated from its file: give {keyword}=..."
        for name, keyword in (
            ("model.name", "model_name"), ("data.dataset", "dataset_name"), ("run.callbacks", "callbacks")
        )
    ]  # fmt: skip


def test_a_manifest_of_rows_in_memory_takes_other_rows(sft: Make) -> None:
    config = load_config(plain(sft(dataset_name=[{"text": "a"}])), overrides={"dataset_name": "rows.jsonl"})
    assert config.data.dataset == "rows.jsonl"


def test_a_fingerprint_stands_for_a_dataset(sft: Make) -> None:
    class Rows:
        _fingerprint = "f00"

    assert plain(sft(dataset_name=Rows()))["data"]["dataset"]["sha256"] == "f00"


def test_reward_functions_are_written_by_name_where_they_have_one(rl: Make) -> None:
    config = rl("grpo", rewards=["length", length, json.dumps, partial(length), lambda completions: [0.0]])
    functions = plain(config)["rewards"]["functions"]
    assert functions[0] == "length"
    assert functions[2] == "json:dumps"
    assert [f.get("in_memory") for f in functions[3:]] == ["functools.partial", "function"]
    assert in_memory(rl("grpo", rewards=[json.dumps])) == []


def test_a_path_object_is_written_as_text(sft: Make, tmp_path: Path) -> None:
    config = sft(model_name=tmp_path / "model", output_dir=tmp_path / "out")
    assert plain(config)["model"]["name"] == str(tmp_path / "model")
    assert config.run.output_dir == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({}, set()),
        ({"lora_r": 16, "seed": 42, "max_steps": -1, "report_to": "none", "lora_target_modules": None}, set()),
        ({"learning_rate": 2e-4, "batch_size": 8, "eval_batch_size": 8}, set()),
        ({"learning_rate": 1e-4, "lora_r": 8}, {"optim.learning_rate", "peft.r"}),
        ({"quantization": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}},
         {"model.quantization.load_in_4bit"}),
        ({"use_peft": False}, {"peft.enabled"}),
        ({"precision": "auto", "eval_strategy": "auto"}, set()),
        ({"backend_options": {"a": 1}}, {"backend_options"}),
    ],
)  # fmt: skip
def test_changed_is_what_differs_from_the_default(
    sft: Make, keywords: dict[str, Any], expected: set[str]
) -> None:
    config = sft(**keywords)
    assert changed(config) == expected | ALWAYS
    assert changed(resolve_steps(resolve(config, CPU), 100)) == expected | ALWAYS


def test_changed_for_a_backend_leaves_out_what_core_serves(rl: Make) -> None:
    assert changed(rl("dpo", beta=0.5, lora_r=8, max_samples=3, seed=1), "backend") == {"peft.r"}


def test_written_holds_defaults_that_were_written(sft: Make) -> None:
    assert written(sft(lora_r=16)) - ALWAYS == {"peft.r"}


@pytest.mark.parametrize(
    ("honoured", "path", "covered"),
    [
        ({"peft.r"}, "peft.r", True),
        ({"peft.r"}, "peft.rank", False),
        ({"model.quantization"}, "model.quantization.load_in_4bit", True),
        ({"model.quantization.load_in_4bit"}, "model.quantization", False),
        (set(), "peft.r", False),
    ],
)
def test_covers(honoured: set[str], path: str, covered: bool) -> None:
    assert covers(honoured, path) is covered
