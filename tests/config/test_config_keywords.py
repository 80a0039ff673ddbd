"""Keywords of a call: names, aliases, neutral values, and what becomes of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.algorithms import known
from aligntune_core.config import Config, keyword_of, paths, resolve_config
from aligntune_core.config.keywords import flat, tree
from aligntune_core.config.schema.weights import PeftConfig
from aligntune_core.enums import BackendType, RLAlgorithm, TrainingType
from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from tests.config.conftest import Make

# Other keyword -> canonical one -> a value for both.
ALIASES = [
    ("num_train_epochs", "num_epochs", 2),
    ("epochs", "num_epochs", 2),
    ("per_device_train_batch_size", "batch_size", 3),
    ("per_device_eval_batch_size", "eval_batch_size", 3),
    ("max_length", "max_seq_length", 77),
    ("use_lora", "use_peft", False),
    ("peft_enabled", "use_peft", False),
    ("optim", "optimizer", "adamw_8bit"),
    ("lr_scheduler_type", "lr_scheduler", "cosine"),
    ("use_gradient_checkpointing", "gradient_checkpointing", True),
    ("save_interval", "save_steps", 9),
    ("log_interval", "logging_steps", 9),
    ("eval_interval", "eval_steps", 9),
    ("loggers", "report_to", ["wandb"]),
    ("subset", "config_name", "main"),
    ("dataset_config_name", "config_name", "main"),
    ("dataset_config", "config_name", "main"),
    ("dataset_split", "split", "train[:1%]"),
    ("field_mappings", "column_mapping", {"question": "prompt"}),
    ("dataset_text_field", "text_column", "body"),
    ("tokenizer_name_or_path", "tokenizer_name", "tok"),
    ("lora_rank", "lora_r", 4),
    ("target_modules", "lora_target_modules", ["q_proj"]),
]
ONLINE_ALIASES = [
    ("ppo", "response_length", "max_completion_length", 33),
    ("ppo", "max_new_tokens", "max_completion_length", 33),
    ("ppo", "init_kl_coef", "kl_coef", 0.3),
    ("ppo", "epsilon", "cliprange", 0.3),
    ("grpo", "cliprange", "epsilon", 0.3),
    ("grpo", "rewards", "reward_functions", ["length"]),
    ("grpo", "reward_funcs", "reward_functions", ["length"]),
    ("grpo", "reward_model_path", "reward_model_name", "org/reward"),
]


@pytest.mark.parametrize(("alias", "canonical", "value"), ALIASES)
def test_an_alias_means_the_keyword(sft: Make, alias: str, canonical: str, value: Any) -> None:
    config = sft(**{alias: value})
    assert config == sft(**{canonical: value})
    assert config != sft()


@pytest.mark.parametrize(("algorithm", "alias", "canonical", "value"), ONLINE_ALIASES)
def test_an_alias_of_online_algorithms(
    rl: Make, algorithm: str, alias: str, canonical: str, value: Any
) -> None:
    config = rl(algorithm, **{alias: value})
    assert config == rl(algorithm, **{canonical: value})
    assert config != rl(algorithm)


def test_no_two_fields_share_a_name() -> None:
    names = [
        name for entry in tree().values() if entry.section or entry.path == "backend" for name in entry.names
    ]
    assert sorted(set(names)) == sorted(names)
    for algorithm in known().values():
        assert not set(algorithm.parameters.model_fields) & set(flat())


@pytest.mark.parametrize(
    ("keywords", "path", "value"),
    [
        ({"bf16": True}, "model.precision", "bf16"),
        ({"fp16": True, "bf16": False}, "model.precision", "fp16"),
        ({"loftq_init": True}, "peft.init", "loftq"),
        ({"pissa_init": True, "loftq_init": False}, "peft.init", "pissa"),
        ({"lora_variant": "rslora"}, "peft.use_rslora", True),
        ({"lora_variant": "dora"}, "peft.use_dora", True),
        ({"use_flash_attention_2": True}, "model.attn_implementation", "flash_attention_2"),
        ({"instruction_column": "q", "response_column": "a"}, "data.column_mapping",
         {"q": "instruction", "a": "response"}),
        ({"report_to": "wandb"}, "run.report_to", ["wandb"]),
        ({"report_to": "none"}, "run.report_to", []),
        ({"max_steps": -1}, "optim.max_steps", None),
        ({"load_in_4bit": True}, "model.quantization.load_in_4bit", True),
        ({"quantization": {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bf16"}},
         "model.quantization.bnb_4bit_compute_dtype", "bfloat16"),
        ({"quantization": {"load_in_4bit": False}}, "model.quantization", None),
        ({"quantization": {}}, "model.quantization", None),
        ({"lora_target_modules": None}, "peft.target_modules", "all-linear"),
        ({"backend": BackendType.UNSLOTH, "use_unsloth": True}, "backend", "unsloth"),
        ({"learning_rate": "5e-5"}, "optim.learning_rate", 5e-5),
        ({"optim": {"lr_scheduler": "cosine"}}, "optim.lr_scheduler", "cosine"),
        ({"optim": {"lr_scheduler_type": "cosine"}}, "optim.lr_scheduler", "cosine"),
        ({"optim": "adamw_8bit"}, "optim.optimizer", "adamw_8bit"),
        ({"optim.lr_scheduler": "cosine"}, "optim.lr_scheduler", "cosine"),
        ({"peft": PeftConfig(r=4)}, "peft.r", 4),
        ({"model": {"quantization": {"load_in_8bit": True}}}, "model.quantization.load_in_8bit", True),
        ({"model.quantization.load_in_8bit": True}, "model.quantization.load_in_8bit", True),
        ({"parameters": {"loss_type": "dft"}}, "parameters.loss_type", "dft"),
        ({"parameters.loss_type": "dft"}, "parameters.loss_type", "dft"),
        ({"loss_type": "dft"}, "parameters.loss_type", "dft"),
    ],
)  # fmt: skip
def test_what_is_written_arrives(sft: Make, keywords: dict[str, Any], path: str, value: Any) -> None:
    config = sft(**keywords)
    assert paths(config)[path] == value


def test_a_torch_dtype_is_taken_by_its_name(sft: Make) -> None:
    class Dtype:
        def __str__(self) -> str:
            return "torch.float16"

    config = sft(quantization={"load_in_4bit": True, "bnb_4bit_compute_dtype": Dtype()})
    assert paths(config)["model.quantization.bnb_4bit_compute_dtype"] == "float16"


def test_enums_and_strings_are_the_same() -> None:
    by_enum = resolve_config(
        TrainingType.RL, algorithm=RLAlgorithm.DPO, backend=BackendType.TRL, model_name="m", dataset_name="d"
    )
    assert by_enum == resolve_config("rl", algorithm="dpo", backend="trl", model_name="m", dataset_name="d")


@pytest.mark.parametrize(
    "keywords",
    [
        {"use_unsloth": False}, {"auto_detect_fields": True}, {"task_type": "instruction_following"},
        {"task_type": "text_generation"}, {"task_type": "pretraining", "text_column": None, "dataset_text_field": "t"},
        {"lora_variant": "standard"}, {"bf16": False, "fp16": None}, {"loftq_init": False}, {"rope_type": None},
        {"use_vllm": False}, {"reference_free": False}, {"kl_coef": 0}, {"beta": None}, {"label_smoothing": 0.0},
        {"rewards": []}, {"reward_functions": None}, {"reward_model_name": ""}, {"num_generations": None},
        {"reward_device": "auto"}, {"mask_truncated_completions": False}, {"quantization": None}, {"optim": None},
    ],
)  # fmt: skip
def test_values_that_ask_for_nothing_pass(sft: Make, keywords: dict[str, Any]) -> None:
    expected = sft(text_column="t") if "dataset_text_field" in keywords else sft()
    assert sft(**keywords) == expected


def test_fields_of_sft_pass_elsewhere_with_their_defaults(rl: Make) -> None:
    config = rl("dpo", packing=False, packing_strategy="bfd", completion_only_loss=None, temperature=None)
    assert config == rl("dpo")


def test_equal_values_under_two_names_pass(sft: Make) -> None:
    assert sft(num_epochs=1, epochs=1.0, num_train_epochs=1) == sft(num_epochs=1)


def test_warmup_steps_win_and_it_is_said(sft: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="aligntune"):
        config = sft(warmup_steps=5, warmup_ratio=0.1)
    assert (config.optim.warmup_steps, config.optim.warmup_ratio) == (5, 0.1)
    assert caplog.messages == [
        "warmup_steps=5 and warmup_ratio=0.1: the number of steps counts, the ratio does not"
    ]


def test_an_evaluation_interval_without_rows_is_said(sft: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="aligntune"):
        config = sft(eval_interval=100)
    assert config.run.eval_strategy == "no"
    assert caplog.messages == [
        "eval_interval=100 has no effect without held-out rows: give eval_dataset, eval_split or eval_share"
    ]


@pytest.mark.parametrize(
    ("keywords", "strategy"),
    [
        ({}, "no"),
        ({"eval_split": "test"}, "epoch"),
        ({"eval_dataset": "org/held-out"}, "epoch"),
        ({"eval_split": "test", "eval_steps": 10}, "steps"),
        ({"eval_split": "test", "eval_strategy": "auto"}, "epoch"),
        ({"eval_split": "test", "eval_strategy": "no", "eval_steps": 10}, "no"),
        ({"eval_split": "test", "load_best_model_at_end": True}, "steps"),
        ({"eval_split": "test", "load_best_model_at_end": True, "save_strategy": "best"}, "epoch"),
    ],
)
def test_evaluation_follows_the_held_out_rows(sft: Make, keywords: dict[str, Any], strategy: str) -> None:
    assert sft(**keywords).run.eval_strategy == strategy


@pytest.mark.parametrize(
    ("algorithm", "keywords", "lengths"),
    [
        ("grpo", {}, (1024, None, 512)),
        ("grpo", {"max_seq_length": 512}, (512, None, 256)),
        (
            "grpo",
            {"max_seq_length": 832, "max_prompt_length": 384, "max_completion_length": 448},
            (832, 384, 448),
        ),
        ("grpo", {"max_prompt_length": 800}, (1312, 800, 512)),
        ("grpo", {"max_completion_length": 2048}, (4096, None, 2048)),
        ("ppo", {"max_seq_length": 256, "max_prompt_length": 128, "response_length": 64}, (256, 128, 64)),
    ],
)
def test_prompt_and_completion_share_the_length(
    rl: Make, algorithm: str, keywords: dict[str, Any], lengths: tuple[int, int | None, int]
) -> None:
    config = rl(algorithm, **keywords)
    parameters = config.parameters
    assert (
        config.data.max_seq_length,
        parameters.max_prompt_length,
        parameters.max_completion_length,
    ) == lengths


def test_one_reward_is_not_taken_for_the_section(rl: Make) -> None:
    reward = {"type": "length", "weight": 2.0, "params": {}}
    assert rl("grpo", rewards=reward).rewards.functions == [reward]
    assert rl("grpo", rewards={"functions": [reward], "weights": [1]}).rewards.weights == [1.0]


def test_objects_in_memory_are_passed_on(sft: Make) -> None:
    rows, model = [{"text": "a"}], object()
    config = sft(model_name=model, dataset_name=rows)
    assert config.model.name is model
    assert config.data.dataset is rows
    assert config.run.output_dir == "aligntune_output/sft-object"


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("org/Model-1B", "sft-Model-1B"),
        ("/a/b c/", "sft-b-c"),
        ("C:\\models\\x", "sft-x"),
        ("..", "sft-model"),
    ],
)
def test_the_run_folder_is_named_after_the_model(sft: Make, model: str, folder: str) -> None:
    assert sft(model_name=model).run.output_dir == f"aligntune_output/{folder}"


def test_nothing_can_be_changed_afterwards(sft: Make) -> None:
    config = sft()
    with pytest.raises(ValueError, match="frozen"):
        config.optim.batch_size = 3


def test_equality_ignores_where_values_came_from(sft: Make) -> None:
    assert sft(lora_r=16) == sft()
    assert sft(lora_r=8) != sft()
    assert isinstance(sft(), Config)


def test_keyword_of() -> None:
    assert [keyword_of(p) for p in ("peft.r", "parameters.beta", "optim.learning_rate")] == [
        "lora_r", "beta", "learning_rate"
    ]  # fmt: skip


def test_an_adapter_may_be_merged_and_the_whole_fine_tuned(sft: Make) -> None:
    config = sft(use_peft=False, merge_adapter=True)
    assert (config.peft.enabled, config.peft.merge_adapter) == (False, True)


@pytest.mark.parametrize("keyword", ["model_name", "dataset_name", "output_dir"])
def test_an_empty_name_is_no_name(sft: Make, keyword: str) -> None:
    with pytest.raises(ConfigError, match=f"{keyword} is empty"):
        sft(**{keyword: " "})


def test_number_formats_and_held_out_shares_under_other_names(sft: Make) -> None:
    assert sft(fp32=True).model.precision == "fp32"
    with pytest.raises(ConfigError, match='torch_dtype is not offered: write precision="bf16"'):
        sft(torch_dtype="bfloat16")
    with pytest.raises(ConfigError, match=r'test_size=100 is not offered: .*eval_split="train\[-100:\]"'):
        sft(test_size=100)
