"""Settings that pass but are not read are said in one line; weights and clips that leave nothing are refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.config import load_config, plain, resolve_config
from aligntune_core.errors import ConfigError
from aligntune_core.rewards import read_rewards

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.config.conftest import Make, Refused

    Said = Callable[..., list[str]]


@pytest.fixture
def said(rl: Make, caplog: pytest.LogCaptureFixture) -> Said:
    """Makes a configuration and returns what was warned of."""

    def call(algorithm: str, **keywords: Any) -> list[str]:
        with caplog.at_level(logging.WARNING, logger="aligntune"):
            rl(algorithm, **keywords)
        return caplog.messages

    return call


@pytest.mark.parametrize(
    ("algorithm", "keywords", "text"),
    [
        ("dpo", {"ref_model_mixup_alpha": 0.9},
         "ref_model_mixup_alpha=0.9 has no effect with sync_ref_model=False: "
         "set sync_ref_model, or drop ref_model_mixup_alpha"),
        ("dpo", {"precompute_ref_batch_size": 2},
         "precompute_ref_batch_size=2 has no effect with precompute_ref_log_probs=False: "
         "set precompute_ref_log_probs, or drop precompute_ref_batch_size"),
        ("grpo", {"ref_model_sync_steps": 64},
         "ref_model_sync_steps=64 has no effect with sync_ref_model=False: "
         "set sync_ref_model, or drop ref_model_sync_steps"),
        ("grpo", {"use_bias_correction_kl": False},
         "use_bias_correction_kl=False has no effect with beta=0.0: set beta, or drop use_bias_correction_kl"),
        ("ppo", {"log_completions": False, "log_completions_steps": 3},
         "log_completions_steps=3 has no effect with log_completions=False: "
         "set log_completions, or drop log_completions_steps"),
        ("dapo", {"dynamic_sampling": False, "max_resampling": 3},
         "max_resampling=3 has no effect with dynamic_sampling=False: set dynamic_sampling, or drop max_resampling"),
        ("dapo", {"dynamic_sampling": False, "on_exhausted": "keep"},
         "on_exhausted='keep' has no effect with dynamic_sampling=False: set dynamic_sampling, or drop on_exhausted"),
        ("dapo", {"overlong_punishment": 0, "overlong_cache": 4},
         "overlong_cache=4 has no effect with overlong_punishment=0.0: "
         "set overlong_punishment, or drop overlong_cache"),
        ("dpo", {"discopop_tau": 0.1},
         "discopop_tau=0.1 has no effect with loss_type=['sigmoid']: set loss_type='discopop', or drop discopop_tau"),
        ("dpo", {"f_alpha_divergence_coef": 0.9},
         "f_alpha_divergence_coef=0.9 has no effect with f_divergence_type='reverse_kl': "
         "set f_divergence_type='alpha_divergence', or drop f_alpha_divergence_coef"),
        ("dpo", {"num_epochs": 2, "max_steps": 5},
         "num_epochs=2 and max_steps=5: the number of steps counts, the epochs do not"),
        ("dpo", {"lora_dropout": 0.1},
         "lora_dropout=0.1 has no effect with disable_dropout=True, the default of dpo: "
         "set disable_dropout=False to train with dropout, or lora_dropout=0"),
        ("grpo", {"lora_dropout": 0.1, "disable_dropout": True},
         "lora_dropout=0.1 has no effect with disable_dropout=True: "
         "set disable_dropout=False to train with dropout, or lora_dropout=0"),
        ("ppo", {"lora_dropout": 0.5},
         "lora_dropout=0.5 has no effect with disable_dropout=True, the default of ppo: "
         "set disable_dropout=False to train with dropout, or lora_dropout=0"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_said(said: Said, algorithm: str, keywords: dict[str, Any], text: str) -> None:
    assert said(algorithm, **keywords) == [text]


@pytest.mark.parametrize(
    ("algorithm", "keywords"),
    [
        ("dpo", {}), ("ppo", {}), ("grpo", {}), ("dapo", {}), ("dapo", {"dynamic_sampling": False}),
        ("dpo", {"sync_ref_model": True, "ref_model_mixup_alpha": 0.9}), ("dapo", {"overlong_cache": 4}),
        ("dpo", {"lora_dropout": 0.1, "disable_dropout": False}), ("dpo", {"lora_dropout": 0.0}),
        ("grpo", {"lora_dropout": 0.1}), ("grpo", {"log_completions": False}), ("dpo", {"max_steps": 5}),
        ("dpo", {"loss_type": ["sft", "discopop"], "discopop_tau": 0.1}), ("dpo", {"num_epochs": 2, "max_steps": -1}),
    ],
)  # fmt: skip
def test_what_is_read_or_was_not_written_passes_in_silence(
    said: Said, algorithm: str, keywords: dict[str, Any]
) -> None:
    assert said(algorithm, **keywords) == []


def test_a_repeated_run_is_told_of_what_was_written_and_not_of_defaults(
    tmp_path: Path, rl: Make, caplog: pytest.LogCaptureFixture
) -> None:
    config = rl("dapo", dynamic_sampling=False, max_resampling=3)
    file = tmp_path / "aligntune.json"
    file.write_text(json.dumps({"config": plain(config), "sources": config.sources, "backend": "trl"}))
    assert json.loads(file.read_text())["config"]["parameters"]["on_exhausted"] == "error"
    with caplog.at_level(logging.WARNING, logger="aligntune"):
        load_config(file)
    [text] = caplog.messages[1:]
    assert "max_resampling=3 has no effect" in text


@pytest.mark.parametrize("algorithm", ["grpo", "gspo", "dapo", "dr_grpo"])
def test_a_lower_clip_leaves_something(rl: Make, refused: Refused, algorithm: str) -> None:
    assert refused(rl, algorithm, epsilon=1.5) == [
        "epsilon=1.5 must be less than 1: lower clip of the probability ratio: 1 - epsilon"
    ]
    assert rl(algorithm, epsilon=0.99).parameters.epsilon == 0.99


@pytest.mark.parametrize("algorithm", ["dapo", "dr_grpo"])
def test_the_way_out_of_a_sequences_ratio_can_be_taken(rl: Make, refused: Refused, algorithm: str) -> None:
    assert refused(rl, algorithm, importance_sampling_level="sequence") == [
        f'importance_sampling_level="sequence" with loss_type={algorithm}, which adds up tokens, would weigh each '
        'sequence by its length: leave importance_sampling_level out, or take algorithm="gspo", which is made for it'
    ]
    rl("gspo", importance_sampling_level="sequence")


def test_the_way_out_where_the_loss_is_free(rl: Make, refused: Refused) -> None:
    [problem] = refused(rl, "grpo", loss_type="dapo", importance_sampling_level="sequence")
    assert problem.endswith('take loss_type="grpo", or importance_sampling_level="token"')
    rl("grpo", loss_type="grpo", importance_sampling_level="sequence")


def test_use_vllm_is_another_name_for_who_generates(rl: Make, refused: Refused) -> None:
    assert rl("grpo", use_vllm=True) == rl("grpo", generation="vllm")
    assert rl("dapo", use_vllm=False).parameters.generation == "transformers"
    assert refused(rl, "grpo", use_vllm=True, generation="transformers") == [
        "use_vllm=True and generation='transformers' mean the same and differ: give one"
    ]
    assert refused(rl, "ppo", use_vllm=True) == [
        "use_vllm=True is not offered for ppo; the GRPO family has it"
    ]
    assert refused(rl, "grpo", vllm_mode="server") == ['vllm_options needs generation="vllm"']
    assert refused(rl, "ppo", vllm_mode="server") == [
        "vllm_mode='server' is not offered for ppo: it is vllm_options of grpo, gspo, dapo, dr_grpo"
    ]
    config = rl("grpo", use_vllm=True, vllm_mode="server", gpu_memory_utilization=0.5)
    assert config.parameters.vllm_options == {"vllm_mode": "server", "vllm_gpu_memory_utilization": 0.5}


@pytest.mark.parametrize(
    "keywords",
    [
        {"reward_functions": ["length", "exact_answer"], "reward_function_weights": [0, 0.0]},
        {"reward_functions": [("length", 0)]},
        {"rewards": [{"type": "length", "weight": 0}]},
    ],
)
def test_weights_that_are_all_0_are_refused(keywords: dict[str, Any]) -> None:
    call = {"model_name": "m", "dataset_name": "d", "algorithm": "grpo"}
    with pytest.raises(ConfigError, match=r"every reward has weight 0 \(length"):
        read_rewards(resolve_config("rl", **call, **keywords).rewards)
    some = resolve_config(
        "rl", **call, reward_functions=["length"], reward_function_weights=[0], reward_model_name="org/judge"
    )
    assert [spec.weight for spec in read_rewards(some.rewards)] == [0, 1]
