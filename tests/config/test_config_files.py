"""Configuration files, ``key=value`` words and dicts: read strictly, overridden, and traced to file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.config import Config, changed, load_config, resolve_config
from aligntune_core.config.read.files import parse_words
from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from tests.config.conftest import Refused

FLAT = """\
# a comment
algorithm: dpo
model_name: org/model
dataset_name: org/rows
learning_rate: 5e-5
max_steps: 3
save_strategy: no
report_to: [wandb, tensorboard]
quantization: {load_in_4bit: true}
beta: .2
"""
TREE = """\
algorithm: dpo
model:
  name: org/model
  quantization:
    load_in_4bit: true
data: {dataset: org/rows}
optim:
  learning_rate: 5e-5
  max_steps: 3
run:
  save_strategy: no
  report_to:
    - wandb
    - tensorboard
parameters:
  beta: 0.2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test goes."""
    return tmp_path / "run.yaml"


def test_flat_and_nested_files_are_the_same(path: Path) -> None:
    path.write_text(FLAT)
    flat = load_config(path)
    path.write_text(TREE)
    assert load_config(path) == flat
    assert flat.optim.learning_rate == 5e-5
    assert flat.run.save_strategy == "no"
    assert flat == resolve_config(
        "rl", algorithm="dpo", model_name="org/model", dataset_name="org/rows", learning_rate=5e-5, max_steps=3,
        save_strategy="no", report_to=["wandb", "tensorboard"], quantization={"load_in_4bit": True}, beta=0.2,
    )  # fmt: skip


def test_sources_name_file_and_line(path: Path) -> None:
    path.write_text(TREE)
    config = load_config(path, overrides=["seed=7"])
    assert config.sources["optim.learning_rate"] == f"file {path}:8"
    assert config.sources["model.quantization.load_in_4bit"] == f"file {path}:5"
    assert config.sources["parameters.beta"] == f"file {path}:16"
    assert config.sources["run.seed"] == "call"
    assert config.sources["peft.r"] == "default"


def test_problems_name_file_and_line(path: Path, refused: Refused) -> None:
    path.write_text(FLAT.replace("max_steps: 3", "max_steps: three").replace("report_to", "reprot_to"))
    assert refused(load_config, path) == [
        f'unknown keyword "reprot_to". Did you mean "report_to"? ({path}:8)',
        "max_steps='three' must be a valid integer, unable to parse string as an integer: "
        f"optimiser steps (PPO: updates); -1 or unset: num_epochs decides ({path}:6)",
    ]


def test_a_misplaced_key_names_its_section_and_line(path: Path, refused: Refused) -> None:
    path.write_text(TREE.replace("  max_steps: 3", "  lora_r: 8"))
    assert refused(load_config, path) == [
        f'unknown key "lora_r" in section "optim": it belongs under "peft" as "r" ({path}:9)'
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: &x 2\n", ":2: anchors and aliases are not allowed: write the value out"),
        ("a: *x\n", ":1: anchors and aliases are not allowed: write the value out"),
        ("a: !!str 5\n", ":1: tags are not allowed: remove tag:yaml.org,2002:str"),
        ("a: 1\n\nb:\n  c: 1\n  c: 2\n", ':5: "c" is given twice, first in line 4'),
        ("- a\n", ": holds a list; it must hold keywords: model_name: ..."),
        ("", ": holds nothing; it must hold keywords: model_name: ..."),
        ("1: 2\n", ":1: keys are words, not 1"),
        ("a: [1\n", ":2: expected ',' or ']'"),
        ("a: 1\n---\nb: 2\n", ":2: but found another document"),
    ],
)
def test_what_a_file_may_not_hold(path: Path, text: str, problem: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}{problem}")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("5e-5", 5e-5), ("1e3", 1000.0), (".5", 0.5), ("-1", -1), ("+3", 3), ("010", 10), ("0x1f", 31), ("0o17", 15),
        ("no", "no"), ("on", "on"), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"), ("'5'", "5"), ("<<", "<<"),
        ("[a, 1]", ["a", 1]), ("{a: {b: 1.5}}", {"a": {"b": 1.5}}), ("train[:50]", "train[:50]"),
        ("train[:1%]", "train[:1%]"), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_plain_values(word: str, value: Any) -> None:
    found = parse_words([f"key={word}"])["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["learning_rate"], '"learning_rate" is not key=value'),
        (["=3"], '"=3" is not key=value'),
        (["a=1", "a=2"], '"a" is given twice'),
        (["a=[1"], "a=\\[1:1: expected ',' or ']'"),
    ],
)
def test_words_that_are_refused(words: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse_words(words)


def test_environment_variables(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_MODEL", "org/model")
    monkeypatch.setenv("RUN_BATCH", "4")
    path.write_text(
        "algorithm: sft\nmodel_name: ${RUN_MODEL}\ndataset_name: $${RUN_MODEL}/x\nbatch_size: ${RUN_BATCH}\n"
    )
    config = load_config(path)
    assert (config.model.name, config.data.dataset, config.optim.batch_size) == (
        "org/model",
        "${RUN_MODEL}/x",
        4,
    )


def test_an_unset_environment_variable_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    path.write_text(
        'algorithm: sft\nmodel:\n  name: org/${NOT_SET_ANYWHERE}\ndataset_name: ["${NOT_SET_ANYWHERE}"]\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.problems == [
        "model.name (line 3): the environment variable NOT_SET_ANYWHERE is not set: export NOT_SET_ANYWHERE=...",
        "dataset_name (line 4): the environment variable NOT_SET_ANYWHERE is not set: export NOT_SET_ANYWHERE=...",
    ]


def test_overrides_win_and_none_takes_back(path: Path) -> None:
    path.write_text(FLAT)
    config = load_config(
        path, overrides=["optim.learning_rate=1e-3", "max_steps=", "quantization=null", "epochs=2"]
    )
    assert (config.optim.learning_rate, config.optim.max_steps, config.optim.num_epochs) == (1e-3, None, 2.0)
    assert config.model.quantization is None


def test_keywords_override_a_file_and_quantization_is_merged(path: Path) -> None:
    path.write_text(FLAT)
    config = resolve_config("rl", config=path, load_in_8bit=True, load_in_4bit=False, beta=0.3)
    assert config.model.quantization is not None
    assert (config.model.quantization.load_in_4bit, config.model.quantization.load_in_8bit) == (False, True)
    assert config.parameters.beta == 0.3


def test_a_mapping_serves_as_config() -> None:
    base = {"model_name": "m", "data": {"dataset": "d"}, "max_steps": 5}
    config = resolve_config("sft", config=base, max_steps=-1, lora_r=4)
    assert (config.optim.max_steps, config.peft.r, config.algorithm) == (None, 4, "sft")


def test_a_configuration_serves_as_config() -> None:
    base = resolve_config("sft", model_name="m", dataset_name="d", lora_r=4, token="hf_x")
    config = resolve_config("sft", config=base, seed=7)
    assert (config.peft.r, config.run.seed, config.run.data_seed) == (4, 7, 7)
    assert config.model.token is not None
    assert changed(config) == {"algorithm", "model.name", "data.dataset", "peft.r", "run.seed", "model.token"}


@pytest.mark.parametrize("name", ["absent.yaml", "absent.json", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: (No such file|Is a directory)"):
        load_config(tmp_path / name)


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b"model_name: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"run\.yaml: cannot be read: .*invalid start byte"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"model_name": "m", "model_name": "n"}', '"model_name" is given twice'),
        ('{"model_name": }', "is no JSON: Expecting value"),
        ("[1]", "holds a list; it must hold keywords"),
    ],
)
def test_json_is_read_strictly(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        load_config(path)


def test_json_is_a_configuration_too(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(
        json.dumps({"algorithm": "sft", "model_name": "m", "dataset_name": "d", "optim": {"max_steps": 3}})
    )
    config = load_config(path)
    assert config.optim.max_steps == 3
    assert config.sources["optim.max_steps"] == f"file {path}"


def test_something_else_is_no_config() -> None:
    with pytest.raises(ConfigError, match="config is an int; give a path or a dict"):
        resolve_config("sft", config=3)  # type: ignore[arg-type]


def test_a_file_without_an_algorithm_is_refused_unless_the_call_says_it(path: Path) -> None:
    path.write_text("model_name: m\ndataset_name: d\n")
    with pytest.raises(ConfigError, match="algorithm is missing"):
        load_config(path)
    assert isinstance(load_config(path, kind="sft"), Config)
    assert load_config(path, overrides={"algorithm": "dr-grpo"}).algorithm == "dr_grpo"


def test_words_take_the_environment_as_files_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_NAME", "first")
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    assert parse_words(["run_name=${RUN_NAME}", "output_dir=$${RUN_NAME}"]) == {
        "run_name": "first",
        "output_dir": "${RUN_NAME}",
    }
    with pytest.raises(ConfigError, match="run_name: the environment variable NOT_SET_ANYWHERE is not set"):
        parse_words(["run_name=${NOT_SET_ANYWHERE}"])


def test_defaults_of_environment_variables_are_not_understood(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("algorithm: sft\nmodel_name: ${MODEL:-tiny}\ndataset_name: d\n")
    with pytest.raises(
        ConfigError, match=r"model_name: \$\{MODEL:-tiny\} is not understood; write \$\{NAME\}"
    ):
        load_config(file)


def test_keys_of_quantization_and_names_that_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("algorithm: sft\nmodel_name: m\ndataset_name: d\nconfig_name: 2024\n")
    config = load_config(file, overrides=["quantization.load_in_4bit=true"])
    assert config.data.config_name == "2024"
    assert config.model.quantization is not None
    assert config.model.quantization.load_in_4bit
