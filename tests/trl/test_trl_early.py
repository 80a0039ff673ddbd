"""What a model's configuration and files rule out is refused before weights load, in the caller's words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.errors import AligntuneError, ConfigError

Build = Callable[..., Any]

pytestmark = pytest.mark.filterwarnings("ignore")

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "target": (
        {"lora_target_modules": ["q_projj"]},
        r'lora_target_modules \(peft\.target_modules\).*\'q_projj\'.* Did you mean "q_proj"\?',
    ),
    "regex": (
        {"lora_target_modules": "q_proj"},
        r"lora_target_modules .*a plain string is a regular expression.*\['q_proj'\]",
    ),
    "holder": (
        {"lora_target_modules": ["mlp", "q_proj"]},
        r"'mlp' is no layer but holds layers: take down_proj, gate_proj, up_proj$",
    ),
    "plateau": (
        {"lr_scheduler": "reduce_lr_on_plateau"},
        "lr_scheduler .* follows the held-out loss: give eval_dataset",
    ),
    "no regex": ({"lora_target_modules": "(q_proj"}, "is no regular expression"),
    "whole": (
        {"modules_to_save": ["lm_headd"]},
        r'modules_to_save \(peft\.modules_to_save\).*Did you mean "lm_head"\?',
    ),
    "layers": ({"layers_to_transform": [0, 99]}, r"layers_to_transform .*no layer 99; .* 0 to \d+"),
    "metric": (
        {"metric_for_best_model": "token_acuracy"},
        r'metric_for_best_model .*Did you mean "token_accuracy"\?',
    ),
    "place": ({"device_map": "cuda"}, r"device_map \(model\.device_map\).*needs a GPU"),
    "optimizer": ({"optimizer": "adamw"}, r'optimizer \(optim\.optimizer\).*Did you mean "adamw_torch"\?'),
    "schedule": ({"lr_scheduler": "cosin"}, r'\(optim\.lr_scheduler\).*Did you mean "cosine"\?'),
    "tracker": ({"report_to": "wanbd"}, r"report_to \(run\.report_to\): wanbd"),
}


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("weights were loaded")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_weights(case: str, build: Build) -> None:
    keywords, said = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        build("sft", **keywords)
    assert re.search(said, str(caught.value)), caught.value


@pytest.mark.usefixtures("no_weights")
def test_a_missing_kernel_names_the_one_to_take(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from aligntune_trl import problems as early

    monkeypatch.setattr(early, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r'attn_implementation .*flash-attn.*take "sdpa"'):
        build("sft", attn_implementation="flash_attention_2")


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("harm", ["cut", "shard"])
def test_damaged_weights_are_named(harm: str, build: Build, tiny_model_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model_dir, model)
    file = model / "model.safetensors"
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        named = {"metadata": {}, "weight_map": {"x": "model-00002-of-00002.safetensors"}}
        (model / "model.safetensors.index.json").write_text(json.dumps(named))
    said = "model.safetensors has .* bytes" if harm == "cut" else "model-00002-of-00002.safetensors, named by"
    with pytest.raises(ConfigError, match=f"{said}.*copy it again"):
        build("sft", model_name=str(model))


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("own_tokenizer", [True, False])
def test_an_adapter_without_its_base_names_its_file(
    own_tokenizer: bool, build: Build, tiny_model_dir: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    if own_tokenizer:
        shutil.copytree(tiny_model_dir, adapter, ignore=shutil.ignore_patterns("model*", "config.json"))
    adapter.mkdir(exist_ok=True)
    gone = str(tmp_path / "gone" / "base")
    settings = {"peft_type": "LORA", "base_model_name_or_path": gone}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(AligntuneError, match=r"adapter_config\.json.*base_model_name_or_path.*gone"):
        build("sft", model_name=str(adapter))


@pytest.mark.parametrize(
    ("algorithm", "name", "theirs"),
    [
        ("sft", "perplexity", "eval_loss"),
        ("sft", "eval_token_accuracy", "eval_mean_token_accuracy"),
        ("dpo", "reward_accuracy", "eval_rewards/accuracies"),
        ("dpo", "eval_rewards/margins", "eval_rewards/margins"),
        ("reward", "reward_margin", "eval_margin"),
        ("grpo", "rewards/mine/mean", "rewards/mine/mean"),
    ],
)
def test_our_names_of_figures_reach_the_library(algorithm: str, name: str, theirs: str) -> None:
    from aligntune_trl.algorithms.recipe import find

    recipe = find(algorithm)
    assert recipe is not None
    assert recipe.metric(name) == theirs


def test_the_best_checkpoint_by_our_name(build: Build, sft_rows: list[dict[str, Any]]) -> None:
    best = {"eval_dataset": sft_rows[:4], "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    best |= {"save_strategy": "steps", "load_best_model_at_end": True}
    trainer = build("sft", **best, metric_for_best_model="token_accuracy")
    assert trainer.effective["run.metric_for_best_model"] == "token_accuracy"
    trainer.train()
    seen = [e["eval_mean_token_accuracy"] for e in trainer.native.state.log_history if "eval_loss" in e]
    assert trainer.native.state.best_metric == max(seen)
