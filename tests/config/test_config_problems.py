"""What a call is refused for: misplaced, unknown and impossible keywords, all problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.config import resolve_config
from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from tests.config.conftest import Make, Refused


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"beta": 0.1}, "beta belongs to dpo, grpo, gspo, dapo, dr_grpo, kto; this is sft"),
        ({"kl_coef": 0.1}, "kl_coef belongs to ppo; this is sft"),
        ({"temperature": 0}, "temperature belongs to ppo, grpo, gspo, dapo, dr_grpo; this is sft"),
        ({"rewards": ["length"]}, "rewards belongs to ppo, grpo, gspo, dapo, dr_grpo; this is sft"),
        ({"rewards": {"functions": ["length"]}},
         "rewards.functions belongs to ppo, grpo, gspo, dapo, dr_grpo; this is sft"),
        ({"parameters": {"beta": 0.1}}, "parameters.beta belongs to dpo, grpo, gspo, dapo, dr_grpo, kto; this is sft"),
        ({"r": 8}, 'unknown keyword "r". Write lora_r, or peft.r.'),
        ({"batch_sise": 8}, 'unknown keyword "batch_sise". Did you mean "batch_size"?'),
        ({"loss_typ": "dft"}, 'unknown keyword "loss_typ". Did you mean "loss_type"?'),
        ({"qqq": None}, 'unknown keyword "qqq". See docs/reference/configuration.md.'),
        ({"optim": {"lora_r": 8}}, 'unknown key "lora_r" in section "optim": it belongs under "peft" as "r"'),
        ({"optim": {"r": 8}}, 'unknown key "r" in section "optim": it belongs under "peft" as "r"'),
        ({"optim": {"learnign_rate": 1}},
         'unknown key "learnign_rate" in section "optim": Did you mean "learning_rate"?'),
        ({"optim": {"backend": "trl"}}, 'unknown key "backend" in section "optim": it belongs to the outermost level'),
        ({"model": {"bf16": True}}, 'unknown key "bf16" in section "model": it belongs to the outermost level'),
        ({"optim": {"loss_type": "dft"}}, 'unknown key "loss_type" in section "optim": it belongs under "parameters"'),
        ({"optim": {"beta": 1}},
         'unknown key "beta" in section "optim": it belongs to dpo, grpo, gspo, dapo, dr_grpo, kto; this is sft'),
        ({"rewards.functons": ["x"]}, 'unknown key "functons" in section "rewards": Did you mean "functions"?'),
        ({"training.lr": 1}, 'unknown key "training.lr": there is no section "training". Sections: '
                             "model, peft, data, optim, run, rewards, parameters"),
        ({"run": 3}, "run=3 must be a mapping: run is a section"),
        ({"quantization": {"load_in_4bits": True}},
         'unknown key "load_in_4bits" in section "model.quantization": Did you mean "load_in_4bit"?'),
        ({"quantization": {"bnb_4bit_quant_type": "fp4"}},
         "model.quantization.bnb_4bit_quant_type='fp4' needs load_in_4bit=True or load_in_8bit=True"),
        ({"num_epochs": 1, "epochs": 2}, "num_epochs=1 and epochs=2 mean the same and differ: give one"),
        ({"learning_rate": 1e-4, "optim": {"learning_rate": 1e-5}},
         "learning_rate=0.0001 and optim.learning_rate=1e-05 mean the same and differ: give one"),
        ({"precision": "fp32", "bf16": True}, "precision='fp32' and bf16=True mean the same and differ: give one"),
        ({"bf16": True, "fp16": True}, "bf16=True and fp16=True mean the same and differ: give one"),
        ({"rope_type": "yarn"},
         "rope_type is not offered: rope is as the model has it; take a model with the context length you need"),
        ({"percent": 10.0}, 'percent is not offered: write it into the split: split="train[:10%]"'),
        ({"task_type": "text_classification"},
         "task_type='text_classification' is not offered: sft trains a language model on whole answers"),
        ({"task_type": "pretraining"},
         "task_type='pretraining' needs text_column, the column of plain text to train on"),
        ({"use_unsloth": True, "backend": "trl"}, "use_unsloth=True is decided by backend: "
                                                  'write backend="unsloth", or another, and leave this out'),
        ({"use_unsloth": False, "backend": "unsloth"}, "use_unsloth=False is decided by backend: "
                                                       'write backend="unsloth", or another, and leave this out'),
        ({"lora_variant": "dorra"}, "lora_variant='dorra' is not offered. Did you mean \"dora\"? "
                                    "Known: standard, lora, rslora, dora, pissa, loftq, gaussian"),
        ({"attn_implementation": "swa"}, "attn_implementation='swa' is not offered: "
                                         "sliding windows are part of the model's own configuration"),
        ({"attn_implementation": "flash_attention2"},
         "attn_implementation='flash_attention2' is unknown. Did you mean \"flash_attention_2\"?"),
        ({"learning_rate": -1},
         "learning_rate=-1 must be greater than 0: peak learning rate; default by algorithm"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be a finite number: "
                                          "peak learning rate; default by algorithm"),
        ({"batch_size": 0}, "batch_size=0 must be greater than or equal to 1: rows a device and micro-batch"),
        ({"batch_size": True}, "batch_size=True takes no True: rows a device and micro-batch"),
        ({"num_epochs": 0}, "num_epochs=0 must be greater than 0: passes over the rows; default by algorithm"),
        ({"max_steps": 0}, "max_steps=0 must be greater than or equal to 1: "
                           "optimiser steps (PPO: updates); -1 or unset: num_epochs decides"),
        ({"lora_dropout": 1.0}, "lora_dropout=1.0 must be less than 1: dropout on the adapter's input, 0..1"),
        ({"device_map": 3},
         "device_map=3 must be a valid string or a valid dictionary: placement of layers on devices"),
        ({"quantization": {"load_in_4bit": True, "load_in_8bit": True}},
         "load_in_4bit and load_in_8bit exclude each other: give one"),
        ({"use_peft": False, "quantization": {"load_in_4bit": True}},
         "use_peft=False needs full-precision weights: a quantised model takes an adapter only. Drop quantization"),
        ({"use_peft": False, "lora_r": 8}, "lora_r=8 has no effect with use_peft=False: drop one of them"),
        ({"streaming": True}, "streaming=True needs max_steps: the number of rows is not known beforehand"),
        ({"eval_strategy": "steps"},
         "eval_strategy='steps' needs held-out rows: give eval_dataset, eval_split or eval_share"),
        ({"load_best_model_at_end": True},
         "load_best_model_at_end=True needs held-out rows: give eval_dataset, eval_split or eval_share"),
        ({"load_best_model_at_end": True, "eval_split": "test", "eval_strategy": "epoch"},
         "load_best_model_at_end=True needs save_strategy and eval_strategy alike, not 'steps' and 'epoch'"),
        ({"load_best_model_at_end": True, "eval_split": "test", "save_steps": 50, "eval_steps": 40},
         "load_best_model_at_end=True needs save_steps to be a multiple of eval_steps, not 50 and 40"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(sft: Make, refused: Refused, keywords: dict[str, Any], problem: str) -> None:
    assert refused(sft, **keywords) == [problem]


@pytest.mark.parametrize(
    ("algorithm", "keywords", "problem"),
    [
        ("dpo", {"kl_coef": 0.05}, "kl_coef belongs to ppo; this is dpo"),
        ("dpo", {"packing": True}, "packing belongs to sft; this is dpo"),
        ("dpo", {"reward_model_name": "r"},
         "reward_model_name belongs to ppo, grpo, gspo, dapo, dr_grpo; this is dpo"),
        ("dpo", {"beta": -1}, "beta=-1 must be greater than or equal to 0: "
                              "how strongly the policy is held to the reference; for ipo its tau"),
        ("ppo", {"beta": 0.1}, "beta belongs to dpo, grpo, gspo, dapo, dr_grpo, kto; this is ppo"),
        ("ppo", {"num_generations": 4}, "num_generations belongs to grpo, gspo, dapo, dr_grpo; this is ppo"),
        ("grpo", {"group_by_length": True}, "group_by_length belongs to sft, dpo, reward, kto; this is grpo"),
        ("grpo", {"reward_functions": ["a", "b"], "reward_weights": [1.0]},
         "1 reward_function_weights for 2 reward_functions"),
        ("grpo", {"max_seq_length": 100, "max_prompt_length": 60, "max_completion_length": 60},
         "max_seq_length=100 has no room for max_prompt_length=60 and max_completion_length=60: it counts both"),
        ("gspo", {"gspo_delta": 0.1}, "gspo_delta is not offered: the GSPO paper has no such parameter; "
                                      "its clips are epsilon and epsilon_high"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_other_algorithms_is_said(
    rl: Make, refused: Refused, algorithm: str, keywords: dict[str, Any], problem: str
) -> None:
    assert refused(rl, algorithm, **keywords) == [problem]


def test_all_problems_of_a_call_come_at_once(refused: Refused) -> None:
    found = refused(
        resolve_config,
        "sft",
        dataset_name="d",
        batch_sise=4,
        beta=0.1,
        learning_rate=-1,
        loss_type="x",
        optim={"lora_r": 8},
    )
    assert [text.split()[0] for text in found] == [
        "unknown", "beta", "unknown", "loss_type='x'", "model_name", "learning_rate=-1"
    ]  # fmt: skip


def test_the_message_lists_every_problem(sft: Make) -> None:
    with pytest.raises(ConfigError) as caught:
        sft(beta=0.1, batch_sise=4)
    assert str(caught.value).splitlines()[0] == "2 problems"
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("kind", "keywords", "text"),
    [
        ("sft", {"algorithm": "dpo"}, "create_sft_trainer does not train dpo: use create_rl_trainer"),
        ("rl", {"algorithm": "sft"}, "create_rl_trainer does not train sft: use create_sft_trainer"),
        ("rl", {}, "algorithm is missing. Known: dpo, reward, ppo, grpo, gspo, dapo, dr_grpo"),
        (None, {}, "algorithm is missing. Known: sft, dpo"),
        ("rll", {}, 'there is no kind "rll": sft or rl'),
        ("rl", {"algorithm": "dpoo"}, 'no algorithm "dpoo". Did you mean "dpo"'),
    ],
)
def test_kind_and_algorithm_must_fit(kind: str | None, keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        resolve_config(kind, model_name="m", dataset_name="d", **keywords)


def test_a_token_is_never_shown(sft: Make) -> None:
    calls: list[dict[str, Any]] = [{"token": "hf_one", "model": {"token": "hf_two"}}, {"token": ["hf_one"]}]
    for keywords in calls:
        with pytest.raises(ConfigError) as caught:
            sft(**keywords)
        assert "token=***" in str(caught.value)
        assert "hf_" not in str(caught.value)


def test_empty_lists_of_modules_ask_for_nothing(sft: Make) -> None:
    given: dict[str, Any] = {"lora_target_modules": [], "modules_to_save": [], "layers_to_transform": []}
    assert sft(**given) == sft()
