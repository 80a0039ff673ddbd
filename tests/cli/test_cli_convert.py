"""``aligntune convert``: configurations of other tools become ours, and nothing of them is lost without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from aligntune.conversion.convert import PEERS, Conversion, convert
from aligntune_core.config import keywords as kw
from aligntune_core.config import load_config, paths, resolve_config
from aligntune_core.errors import ConfigError

Command = Callable[..., Result]
Converted = Callable[..., Conversion]

LLAMAFACTORY = """\
model_name_or_path: org/model
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: org/rows
cutoff_len: 2048
output_dir: saves/run
overwrite_output_dir: true
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 2.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
report_to: none
resume_from_checkpoint: null
"""
AXOLOTL = """\
base_model: org/model
model_type: AutoModelForCausalLM
load_in_4bit: true
adapter: qlora
lora_r: 32
lora_alpha: 16
lora_target_linear: true
datasets:
  - path: org/rows
    type: chat_template
    split: train[:500]
sequence_len: 4096
sample_packing: true
eval_sample_packing: true
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 3
optimizer: adamw_8bit
learning_rate: 2e-4
warmup_steps: 10
bf16: auto
output_dir: out
"""


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Converted:
    """Converts a text, in a folder of its own; what is written reads as what is told."""
    monkeypatch.chdir(tmp_path)

    def call(text: str | dict[str, Any], *overrides: str, peer: str = "auto") -> Conversion:
        path = tmp_path / ("theirs.json" if isinstance(text, dict) else "theirs.yaml")
        path.write_text(json.dumps(text, indent=1) if isinstance(text, dict) else text)
        conversion = convert(path, peer, list(overrides))
        written = tmp_path / "ours.yaml"
        written.write_text(conversion.text)
        assert load_config(written) == resolve_config(config=conversion.config)
        return conversion

    return call


def test_llamafactory(converted: Converted) -> None:
    conversion = converted(LLAMAFACTORY)
    assert (conversion.peer, conversion.left_out, conversion.missing) == ("llamafactory", (), ())
    assert conversion.config == {
        "algorithm": "sft", "model_name": "org/model", "use_peft": True, "lora_r": 8, "lora_alpha": 16,
        "lora_target_modules": "all-linear", "dataset_name": "org/rows", "max_seq_length": 2048,
        "output_dir": "saves/run", "batch_size": 1, "gradient_accumulation_steps": 8, "learning_rate": 1e-4,
        "num_epochs": 2.0, "lr_scheduler": "cosine", "warmup_ratio": 0.1, "precision": "bf16",
    }  # fmt: skip


def test_its_own_defaults_are_written_where_ours_are_others(converted: Converted) -> None:
    config = converted("model_name_or_path: m\nstage: dpo\ndataset: org/d\n").config
    expected = {
        "learning_rate": 5e-5, "num_epochs": 3.0, "lora_r": 8, "lora_alpha": 16, "max_seq_length": 2048
    }  # fmt: skip
    assert expected.items() <= config.items()
    assert converted("base_model: m\ndatasets: [{path: d, type: alpaca}]\nlearning_rate: 1e-4\n").config == {
        "algorithm": "sft", "model_name": "m", "dataset_name": "d", "learning_rate": 1e-4, "use_peft": False,
        "num_epochs": 1.0, "batch_size": 1, "max_seq_length": 512, "lr_scheduler": "cosine", "warmup_ratio": 0.03,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("stage: dpo\npref_beta: 0.2\npref_loss: hinge\n", {"algorithm": "dpo", "beta": 0.2, "loss_type": "hinge"}),
        ("stage: kto\nkto_chosen_weight: 2.0\n", {"algorithm": "kto", "desirable_weight": 2.0}),
        ("stage: rm\n", {"algorithm": "reward"}),
        ("stage: ppo\nreward_model: org/judge\nmax_new_tokens: 64\n",
         {"algorithm": "ppo", "reward_model_name": "org/judge", "max_completion_length": 64}),
        ("stage: sft\nfinetuning_type: full\n", {"use_peft": False}),
        ("stage: sft\nquantization_bit: 4\n", {"load_in_4bit": True}),
        ("stage: sft\nadapter_name_or_path: runs/a\n", {"model_name": "runs/a"}),
        ("stage: sft\nadapter_name_or_path: a\ncreate_new_adapter: true\n", {"model_name": "a", "merge_adapter": True}),
        ("stage: sft\nlora_target: q_proj,v_proj\n", {"lora_target_modules": ["q_proj", "v_proj"]}),
        ("stage: sft\ntrain_on_prompt: true\n", {"completion_only_loss": False}),
        ("stage: sft\nflash_attn: fa2\n", {"attn_implementation": "flash_attention_2"}),
    ],
)  # fmt: skip
def test_stages_of_llamafactory(converted: Converted, lines: str, expected: dict[str, Any]) -> None:
    conversion = converted(f"model_name_or_path: m\ndataset: org/d\n{lines}")
    assert expected.items() <= conversion.config.items()
    assert not conversion.left_out


def test_the_list_of_data_sets_of_llamafactory(converted: Converted, tmp_path: Path) -> None:
    info = {
        "mine": {"file_name": "mine.json", "columns": {"prompt": "q", "response": "answer"}},
        "hub": {"hf_hub_url": "org/hub", "subset": "en", "split": "test", "formatting": "sharegpt"},
        "corpus": {"file_name": "c.jsonl", "columns": {"prompt": "body"}},
        "odd": {"hf_hub_url": "org/odd", "columns": {"messages": "m"}, "tags": {"role_tag": "who"}},
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_info.json").write_text(json.dumps(info))
    mine = converted("model_name_or_path: m\nstage: sft\ndataset: mine\n").config
    assert mine["dataset_name"] == "data/mine.json"
    assert mine["column_mapping"] == {"q": "prompt"}
    hub = converted("model_name_or_path: m\nstage: dpo\ndataset: hub\n").config
    assert (hub["dataset_name"], hub["config_name"], hub["split"]) == ("org/hub", "en", "test")
    corpus = converted("model_name_or_path: m\nstage: pt\ndataset: corpus\n").config
    assert (corpus["algorithm"], corpus["text_column"], corpus["packing"]) == ("sft", "body", True)
    [line] = converted("model_name_or_path: m\nstage: sft\ndataset: odd\n").left_out
    assert 'messages of "odd" have who (role_tag): rename it to role' in line.why
    [line] = converted("model_name_or_path: m\nstage: sft\ndataset: nowhere\n").left_out
    assert (line.number, "write a hub id, a file or a folder" in line.why) == (3, True)


def test_axolotl(converted: Converted) -> None:
    conversion = converted(AXOLOTL)
    assert (conversion.peer, conversion.left_out, conversion.missing) == ("axolotl", (), ())
    assert conversion.config == {
        "algorithm": "sft", "model_name": "org/model", "load_in_4bit": True, "use_peft": True, "lora_r": 32,
        "lora_alpha": 16, "lora_target_modules": "all-linear", "dataset_name": "org/rows", "split": "train[:500]",
        "max_seq_length": 4096, "packing": True, "batch_size": 2, "gradient_accumulation_steps": 4, "num_epochs": 3,
        "optimizer": "adamw_8bit", "learning_rate": 2e-4, "warmup_steps": 10, "precision": "auto",
        "output_dir": "out", "lr_scheduler": "cosine",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("rl: dpo\nrl_beta: 0.2\n", {"algorithm": "dpo", "beta": 0.2}),
        ("rl: ipo\n", {"algorithm": "dpo", "loss_type": "ipo"}),
        ("rl: kto\nkto_undesirable_weight: 0.5\n", {"algorithm": "kto", "undesirable_weight": 0.5}),
        ("rl: grpo\nmicro_batch_size: 4\ntrl: {beta: 0.1, num_generations: 4, reward_funcs: [length]}\n",
         {"algorithm": "grpo", "beta": 0.1, "num_generations": 4, "reward_functions": ["length"]}),
        ("rl: gdpo\nmicro_batch_size: 8\n", {"algorithm": "grpo", "multi_objective_aggregation": "normalize_then_sum"}),
        ("reward_model: true\n", {"algorithm": "reward"}),
        ("adapter: lora\npeft_use_dora: true\n", {"use_peft": True, "use_dora": True}),
        ("plugins: [axolotl.integrations.liger.LigerPlugin]\nliger_rope: true\n", {"use_liger_kernel": True}),
        ("liger_rms_norm: true\n", {"use_liger_kernel": True}),
        ("batch_size: 16\n", {"batch_size": 2, "gradient_accumulation_steps": 8}),
        ("train_on_inputs: true\n", {"completion_only_loss": False}),
        ("load_in_8bit: yes\nadapter: lora\n", {"load_in_8bit": True}),
        ("lora_model_dir: runs/a\nadapter: lora\n", {"model_name": "runs/a"}),
    ],
)  # fmt: skip
def test_settings_of_axolotl(converted: Converted, lines: str, expected: dict[str, Any]) -> None:
    conversion = converted(f"base_model: m\ndatasets: [{{path: d}}]\nmicro_batch_size: 2\n{lines}")
    assert expected.items() <= conversion.config.items()
    assert not conversion.left_out


def test_data_sets_of_axolotl(converted: Converted) -> None:
    text = "base_model: m\ndatasets: [{path: json, data_files: rows.jsonl, type: completion, field: body}]\n"
    assert {"dataset_name": "rows.jsonl", "text_column": "body"}.items() <= converted(text).config.items()
    text = "base_model: m\ndatasets:\n  - path: d\n    type: chat_template\n    field_messages: talk\n"
    assert converted(text).config["column_mapping"] == {"talk": "messages"}
    text = "base_model: m\ndatasets:\n  - {path: d, type: my.rows, roles_to_train: [user], revision: v2}\n"
    reasons = [line.why for line in converted(text).left_out]
    assert any("type=my.rows is code" in why for why in reasons)
    assert any("roles_to_train" in why for why in reasons)
    assert any("revision has no counterpart" in why for why in reasons)
    text = "base_model: m\ndatasets: [{path: d, type: chat_template, train_on_eos: turn, roles_to_train: [gpt]}]\n"
    assert not converted(text).left_out


def test_several_data_sets_are_a_mixture_or_named_as_left_out(converted: Converted) -> None:
    conversion = converted("base_model: m\ndatasets: [{path: a}, {path: b, split: test}]\n")
    if "datasets" in kw.flat():
        assert conversion.config["datasets"] == [{"name": "a"}, {"name": "b", "split": "test"}]
    else:
        assert conversion.config["dataset_name"] == "a"
        assert "b is left out" in conversion.left_out[0].why


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("value", [True, 3, 0.5, "x", ["a"], {"a": 1}], ids=str)
def test_values_of_other_types_leave_the_rest_valid(converted: Converted, peer: str, value: Any) -> None:
    names = set(PEERS[peer].by_hand) - {"stage", "rl", "algorithm"}
    rest = {"model_name_or_path": "m", "base_model": "m"}
    for name in names - {"config_class", "class", "trainer", "trainer_class", "_class"}:
        converted({**rest, name: value}, peer=peer)


def test_the_end_of_a_cosine(converted: Converted) -> None:
    text = "base_model: m\ndatasets: [{path: d}]\nlearning_rate: 0.001\ncosine_min_lr_ratio: 0.1\n"
    text += "lr_scheduler: cosine\n"
    config = converted(text).config
    if "min_learning_rate" in kw.flat():
        assert (config["lr_scheduler"], config["min_learning_rate"]) == (
            "cosine_with_min_lr",
            pytest.approx(1e-4),
        )
    else:
        assert config["lr_scheduler"] == "cosine"


def test_rows_held_out_by_share(converted: Converted) -> None:
    config = converted("base_model: m\nval_set_size: 0.05\ndatasets: [{path: d, split: train}]\n").config
    if "eval_share" in kw.flat():
        assert config["eval_share"] == 0.05
    else:
        assert (config["split"], config["eval_split"]) == ("train[:95%]", "train[95%:]")
    config = converted("model_name_or_path: m\nstage: sft\nval_size: 100\ndataset: org/d\n").config
    assert (config["split"], config["eval_split"]) == ("train[:-100]", "train[-100:]")


def test_arguments_of_a_script(converted: Converted) -> None:
    arguments = {
        "max_length": 512, "learning_rate": 2e-4, "warmup_steps": 0.1, "num_train_epochs": 1, "bf16": True,
        "assistant_only_loss": True,
    }  # fmt: skip
    adapter = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    conversion = converted(
        {"model_name_or_path": "m", "dataset_name": "d", "SFTConfig": arguments, "peft_config": adapter}
    )
    assert conversion.config == {
        "algorithm": "sft", "model_name": "m", "dataset_name": "d", "max_seq_length": 512, "learning_rate": 2e-4,
        "warmup_ratio": 0.1, "num_epochs": 1, "precision": "bf16", "use_peft": True, "lora_r": 4, "lora_alpha": 8,
        "lora_target_modules": "all-linear", "completion_only_loss": True,
    }  # fmt: skip
    assert (conversion.left_out, conversion.missing, conversion.remarks) == ((), (), ())


def test_the_defaults_of_an_adapter_are_those_of_its_library(converted: Converted) -> None:
    base = {"model_name_or_path": "m", "dataset_name": "d"}
    config = converted({**base, "SFTConfig": {"seed": 1}, "peft_config": {"r": 4}}).config
    assert (config["lora_r"], config["lora_alpha"], config["learning_rate"]) == (4, 8, 2e-5)
    config = converted({**base, "use_peft": True, "algorithm": "sft"}).config
    assert (config["use_peft"], config["lora_dropout"], "lora_r" in config) == (True, 0.05, False)
    config = converted({**base, "SFTConfig": {}, "quantization_config": {"load_in_4bit": True}}).config
    assert (config["load_in_4bit"], "use_peft" in config) == (True, False)


def test_tokens_are_judged_one_by_one(converted: Converted) -> None:
    text = "base_model: m\ndatasets: [{path: d}]\nspecial_tokens:\n  pad_token: <pad>\n  bos_token: <s>\n"
    left_out = {line.key: line.number for line in converted(text).left_out}
    assert left_out["special_tokens.bos_token"] == 5
    assert ("special_tokens.pad_token" in left_out) == ("pad_token" not in kw.flat())


def test_a_loss_that_lies_elsewhere_is_said(converted: Converted) -> None:
    assert "assistant_only_loss" in [line.key for line in converted({"SFTConfig": {"seed": 1}}).remarks]
    assert "assistant_only_loss" not in [line.key for line in converted({"DPOConfig": {"seed": 1}}).remarks]


def test_what_a_script_does_not_say_is_to_be_filled_in(converted: Converted) -> None:
    conversion = converted(
        {"DPOConfig": {"beta": 0.2, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}}
    )
    assert conversion.missing == ("model_name", "dataset_name")
    assert (conversion.config["algorithm"], conversion.config["use_peft"]) == ("dpo", False)
    assert (conversion.config["num_epochs"], conversion.config["learning_rate"]) == (3.0, 1e-6)
    assert not conversion.left_out
    filled = converted({"DPOConfig": {"beta": 0.2}}, "model_name=m", "dataset_name=d", "learning_rate=1e-7")
    assert not filled.missing
    assert filled.config["learning_rate"] == 1e-7


def test_the_algorithm_follows_from_the_arguments(converted: Converted) -> None:
    grpo = converted({"num_generations": 4, "use_vllm": True, "vllm_gpu_memory_utilization": 0.5})
    assert grpo.config["algorithm"] == "grpo"
    assert grpo.config["vllm_options"] == {"vllm_gpu_memory_utilization": 0.5}
    assert "reward_functions" in grpo.missing
    assert grpo.config["loss_type"] == "dapo"
    assert converted({"desirable_weight": 2.0}).config["algorithm"] == "kto"
    assert converted({"max_length": 64}).config["algorithm"] == "sft"
    assert converted({"beta": 0.3}, "algorithm=kto").config["algorithm"] == "kto"


def test_rows_that_would_be_cut_and_secrets_are_said(converted: Converted) -> None:
    conversion = converted(
        {"SFTConfig": {"max_length": None, "hub_token": "hf_secret", "eos_token": "<EOS_TOKEN>"}}
    )
    assert sorted(line.key for line in conversion.left_out) == ["hub_token", "max_length"]
    assert "hf_secret" not in conversion.text


def test_the_yaml_of_trls_own_command(converted: Converted) -> None:
    text = "model_name_or_path: m\ndatasets: [{path: org/d, name: en, split: train}]\ntest_split_size: 50\n"
    conversion = converted(text)
    assert (conversion.peer, conversion.left_out) == ("trl", ())
    expected = {
        "dataset_name": "org/d",
        "config_name": "en",
        "split": "train[:-50]",
        "eval_split": "train[-50:]",
    }
    assert expected.items() <= conversion.config.items()


def test_what_contradicts_the_rest_is_left_out(converted: Converted) -> None:
    text = LLAMAFACTORY + "load_best_model_at_end: true\neval_strategy: steps\n"
    conversion = converted(text)
    assert {line.key for line in conversion.left_out} == {"load_best_model_at_end", "eval_strategy"}
    assert all("needs held-out rows" in line.why for line in conversion.left_out)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "stage: dpo\npref_loss: orpo\nmodel_name_or_path: m\n",
            "theirs.yaml:2: pref_loss: orpo is an algorithm",
        ),
        ("base_model: m\nrl: simpo\n", 'theirs.yaml:2: "simpo" is not offered'),
        ("base_model: [", "theirs.yaml:1: is no YAML"),
        ("- a\n", "holds a list"),
    ],
)
def test_what_cannot_be_converted_is_an_error(converted: Converted, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        converted(text)


def test_texts_that_yaml_would_read_as_something_else(converted: Converted) -> None:
    text = LLAMAFACTORY + 'default_system: "no: #1 ${HOME}"\nrun_name: "1e-4"\n'
    config = converted(text).config
    assert (config["system_prompt"], config["run_name"]) == ("no: #1 ${HOME}", "1e-4")
    assert paths(resolve_config(config=config))["data.system_prompt"] == "no: #1 ${HOME}"


def test_the_command_writes_a_file_and_says_what_is_left_out(command: Command, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "new/ours.yaml"
    theirs.write_text(LLAMAFACTORY)
    done = command("convert", theirs, "-o", ours)
    assert (done.exit_code, "left out" in done.output) == (0, False)
    assert load_config(ours).data.max_seq_length == 2048
    theirs.write_text(LLAMAFACTORY + "use_galore: true\n")
    left = command("convert", theirs, "-o", ours, "--from", "llamafactory")
    assert left.exit_code == 4
    assert "left out: line 20: use_galore is not offered" in left.output
    assert "# - line 20: use_galore is not offered" in ours.read_text()
    assert load_config(ours).data.max_seq_length == 2048


def test_the_command_prints_yaml_and_json(command: Command, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text(AXOLOTL + "loss_watchdog_patience: 3\n")
    plain = command("convert", theirs)
    (tmp_path / "ours.yaml").write_text(plain.stdout)
    assert load_config(tmp_path / "ours.yaml").model.name == "org/model"
    assert "loss_watchdog_patience" in plain.stderr
    described = json.loads(command("convert", theirs, "--json").stdout)
    assert (described["from"], described["config"]["max_seq_length"], described["fill_in"]) == (
        "axolotl",
        4096,
        [],
    )
    assert [(line["line"], line["key"]) for line in described["left_out"]] == [(23, "loss_watchdog_patience")]


def test_the_command_refuses_what_it_cannot_do(command: Command, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text(AXOLOTL)
    assert command("convert", theirs, "-o", theirs).exit_code == 2
    assert theirs.read_text() == AXOLOTL
    wrong = command("convert", theirs, "--from", "unsloth")
    assert (wrong.exit_code, "auto, llamafactory, axolotl, trl" in wrong.output) == (2, True)
    assert command("convert", tmp_path / "nowhere.yaml").exit_code == 2
