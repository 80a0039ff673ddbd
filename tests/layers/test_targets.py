"""Names of modules, regular expressions and settings, on models whose experts share a tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config.schema.weights import PeftConfig
from aligntune_core.errors import ConfigError
from aligntune_core.testing.tiny import make_tokenizer
from tests.layers.architectures import make, write

ROWS = [{"prompt": "Say where", "completion": "Paris, by the river"}] * 4
PAIRS = [{"prompt": "Say where", "chosen": "Paris, by the river", "rejected": "a dog"}] * 4


def _carried(kind: str, **settings: Any) -> tuple[set[str], Any]:
    """Names of the weights of a tiny model that carry an adapter so set up, and how its target_modules read back."""
    from peft import LoraConfig, get_peft_model

    from aligntune_core.model import layers
    from aligntune_core.model.targets import built_targets, resolve_targets, target_problems

    model, peft = make(kind, make_tokenizer()), PeftConfig(**settings)
    assert target_problems(model, peft) == []
    targets = resolve_targets(model, peft)
    where = {**targets.arguments(), "layers_to_transform": peft.layers_to_transform}
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **where))
    return layers.covered(adapted), built_targets(adapted, peft.target_modules, targets)


def _problems(kind: str, **settings: Any) -> str:
    from aligntune_core.model.targets import target_problems

    return "\n".join(target_problems(make(kind, make_tokenizer()), PeftConfig(**settings)))


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
def test_names_of_checkpoints_mean_the_fused_experts(kind: str) -> None:
    names = ["down_proj", "gate_proj", "q_proj", "up_proj"]
    carried, read = _carried(kind, target_modules=names)
    assert read == names
    assert {name.rpartition("layers.1.")[2] for name in carried if "layers.1." in name} == {
        "self_attn.q_proj.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj",
    }  # fmt: skip


def test_shared_experts_and_dense_layers_of_the_same_names() -> None:
    """peft takes these names for the routed experts alone, and drops the others."""
    carried, _ = _carried("deepseek_v3", target_modules=["down_proj"])
    assert {name.partition("layers.")[2] for name in carried} == {
        "0.mlp.down_proj.weight", "1.mlp.experts.down_proj", "1.mlp.shared_experts.down_proj.weight",
    }  # fmt: skip


def test_a_pattern_reaches_no_further_than_it_says() -> None:
    """peft makes names of it for these models, which match every layer."""
    pattern = r".*layers\.1\..*q_proj"
    assert _carried("qwen3_moe", target_modules=pattern) == (
        {"model.layers.1.self_attn.q_proj.weight"},
        pattern,
    )


def test_layers_to_transform_hold_for_experts() -> None:
    carried, read = _carried("qwen3_moe", target_modules="all-linear", layers_to_transform=[1])
    assert read == "all-linear"
    assert {name.split(".")[2] for name in carried} == {"1"}
    assert "model.layers.1.mlp.experts.gate_up_proj" in carried


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dropout": 0.1}, "lora_dropout=0.1"),
        ({"use_dora": True}, "use_dora"),
        ({"init": "pissa"}, "'pissa'"),
    ],
)
def test_what_experts_cannot_have_is_told(settings: dict[str, Any], words: str) -> None:
    from aligntune_core.model.targets import resolve_targets

    model = make("qwen3_moe", make_tokenizer())
    remark = resolve_targets(model, PeftConfig(target_modules="all-linear", **settings)).remark()
    assert "stay without an adapter" in remark
    assert "in fused experts, which peft cannot adapt with" in remark
    assert words in remark
    assert "would have no effect" in _problems("qwen3_moe", target_modules=["gate_up_proj"], **settings)


@pytest.mark.parametrize(
    ("kind", "configured", "words"),
    [
        ("gpt2", ["c_atn"], "no module 'c_atn'. Did you mean \"c_attn\""),
        ("qwen3_moe", ["q_proj", "gate_up_porj"], 'Did you mean "gate_up_proj"'),
        ("llama", ["q_proj", "norm"], "'norm' is a LlamaRMSNorm, which peft cannot adapt"),
        ("gpt_oss", ["experts"], "'experts' is no layer but holds layers: take down_proj, gate_up_proj"),
        ("llama", ".*", "matches 'model' too, which is no layer"),
        ("llama", "All_Linear", "write 'all-linear'"),
        ("mamba2", ["out_proj"], "'out_proj' would have no effect: its weights are in layers whose weight"),
        ("jamba", ["q_proj", "dt_proj"], "'dt_proj' would have no effect"),
    ],
)
def test_names_that_cannot_be(kind: str, configured: Any, words: str) -> None:
    assert words in _problems(kind, target_modules=configured)


@pytest.mark.backend
@pytest.mark.parametrize("backend", ["trl", "torch"])
@pytest.mark.parametrize("names", [["q_porj"], ["q_proj", "v_porj"], "q_porj"])
def test_refused_before_weights_load(names: Any, backend: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    import shutil

    from aligntune import create_sft_trainer

    folder = shutil.copytree(tiny_model_dir, tmp_path / "model")
    for file in folder.glob("*.safetensors"):
        file.rename(file.with_suffix(".gone"))
    with pytest.raises(ConfigError, match=r"_porj.*(Did you mean|matches no module)"):
        create_sft_trainer(
            model_name=str(folder), dataset_name=ROWS, backend=backend, lora_target_modules=names, max_steps=1,
            output_dir=str(tmp_path / "run"),
        )  # fmt: skip


@pytest.mark.backend
@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_the_share_left_out_is_said(backend: str, tmp_path: Path) -> None:
    """In the plan, in aligntune.json, and in the log of the run."""
    import json

    from aligntune import create_sft_trainer

    folder = write("lfm2", tmp_path / "model", make_tokenizer())
    trainer = create_sft_trainer(
        model_name=str(folder), dataset_name=ROWS, backend=backend, max_steps=1, batch_size=2,
        output_dir=str(tmp_path / "run"), save_strategy="no",
    )  # fmt: skip
    trainer.train()
    sentence = (
        "LoRA: 0.15 % of the weights of this model's layers stay without an adapter: "
        "0.15 % in convolutions (model.layers.*.conv.conv)"
    )
    assert sentence in (trainer.output_dir / "run.log").read_text()
    assert sentence in json.dumps(
        json.loads((trainer.output_dir / "aligntune.json").read_text()), ensure_ascii=False
    )


@pytest.mark.backend
def test_an_adapter_on_experts_goes_on_and_is_merged(tmp_path: Path) -> None:
    """SFT, DPO on its adapter (ln 2 first), save_model(merged=True), and merge_adapter, all the trained model."""
    import json
    import math

    import torch
    from transformers import AutoModelForCausalLM

    from aligntune import create_rl_trainer, create_sft_trainer

    def logits(model: Any) -> Any:
        model.eval()
        with torch.no_grad():
            return model(input_ids=torch.arange(5, 45).view(2, 20), use_cache=False).logits

    folder = write("qwen3_next", tmp_path / "model", make_tokenizer())
    common: dict[str, Any] = {"batch_size": 2, "max_steps": 2, "save_strategy": "no", "logging_steps": 1}
    first = create_sft_trainer(
        model_name=str(folder), dataset_name=ROWS, backend="trl", learning_rate=1e-2,
        output_dir=str(tmp_path / "sft"), **common,
    )  # fmt: skip
    first.train()
    trained = logits(first.model)
    first.save_model(str(tmp_path / "merged"), merged=True)
    assert torch.allclose(
        logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), trained, atol=1e-4
    )
    second = create_rl_trainer(
        model_name=str(tmp_path / "sft"), dataset_name=PAIRS, algorithm="dpo", backend="trl",
        output_dir=str(tmp_path / "dpo"), **common,
    )  # fmt: skip
    assert torch.equal(logits(second.model), trained)
    second.train()
    line = json.loads((tmp_path / "dpo" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["loss"] == pytest.approx(math.log(2), abs=1e-6)
    third = create_sft_trainer(
        model_name=str(tmp_path / "sft"), dataset_name=ROWS, backend="trl", merge_adapter=True,
        output_dir=str(tmp_path / "again"), **common,
    )  # fmt: skip
    assert torch.allclose(logits(third.model), trained, atol=1e-4)


def test_packed_weights_of_shared_experts_are_told() -> None:
    """peft reaches them as parameters, which packed weights are not; the same names elsewhere it adapts as layers."""
    from aligntune_core.model.targets import resolve_targets

    peft = PeftConfig(target_modules="all-linear")
    remark = resolve_targets(make("deepseek_v3", make_tokenizer()), peft, packed=True).remark()
    assert "in shared experts and dense layers stored in 4 or 8 bits" in remark
    assert "self_attn" not in remark
    assert resolve_targets(make("llama", make_tokenizer()), peft, packed=True).remark() == ""
