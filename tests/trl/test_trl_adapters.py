"""Every LoRA variant trains exactly the parameters it should, starts DPO at ln 2 and is read back by plain peft."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look

pytestmark = pytest.mark.backend

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
Expected = Callable[[str], bool]


def lora_on(*modules: str) -> Expected:
    """Whether a parameter is a LoRA matrix of one of these modules."""
    return lambda name: "lora_" in name and any(f".{module}." in name for module in modules)


def either(*tests: Expected) -> Expected:
    return lambda name: any(test(name) for test in tests)


VARIANTS: dict[str, tuple[dict[str, Any], Expected]] = {
    "default": ({}, lora_on(*LINEAR)),
    "targets": ({"lora_target_modules": ["q_proj", "v_proj"]}, lora_on("q_proj", "v_proj")),
    "regex": ({"lora_target_modules": r".*\.1\..*up_proj"}, lambda n: ".1." in n and lora_on("up_proj")(n)),
    "layers": ({"layers_to_transform": [1]}, lambda n: "layers.1." in n and lora_on(*LINEAR)(n)),
    "rslora": ({"use_rslora": True}, lora_on(*LINEAR)),
    "dora": ({"use_dora": True}, lora_on(*LINEAR)),
    "bias": (
        {"lora_bias": "all", "lora_target_modules": ["q_proj"]},
        either(lora_on("q_proj"), lambda n: n.endswith(".bias")),
    ),
    "full copy": (
        {"modules_to_save": ["embed_tokens"]},
        either(lora_on(*LINEAR), lambda n: "embed_tokens.modules_to_save.default" in n),
    ),
    "gaussian": ({"lora_init": "gaussian"}, lora_on(*LINEAR)),
    "pissa": ({"lora_init": "pissa"}, lora_on(*LINEAR)),
    "pissa rslora": ({"lora_init": "pissa", "use_rslora": True, "modules_to_save": ["norm"]},
                     either(lora_on(*LINEAR), lambda n: "norm.modules_to_save.default" in n)),
}  # fmt: skip


@pytest.fixture(scope="module")
def biased_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose attention has biases."""
    import torch
    from transformers import LlamaForCausalLM

    from aligntune_core.testing.tiny import make_config, make_tokenizer

    folder, tokenizer = tmp_path_factory.mktemp("biased"), make_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(make_config(tokenizer, attention_bias=True, tie_word_embeddings=False)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_under_dpo(variant: str, build: Build, look: Look, biased_dir: Path, tmp_path: Path) -> None:
    """DPO asks most of a variant: its reference has to be the policy at its start."""
    import torch

    keywords, expected = VARIANTS[variant]
    trainer = build("dpo", model_name=str(biased_dir), max_steps=2, learning_rate=1e-2, **keywords)
    before = look.weights(trainer.model)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    trainer.train()
    after = look.weights(trainer.model)

    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if expected(name) and ".ref." not in name}
    assert moved
    assert look.losses(trainer.native)[0] == pytest.approx(math.log(2), abs=1e-6)
    exact = keywords.get("lora_init") != "pissa"  # its base is taken apart and put together again
    reread = look.logits(look.reloaded(biased_dir, tmp_path / "run"))
    assert (reread - look.logits(trainer.model)).abs().max() <= (0 if exact else 1e-6)


def test_scale_of_rslora(build: Build) -> None:
    layer = build("sft", lora_r=4, lora_alpha=8, use_rslora=True).model.get_submodule(
        "base_model.model.model.layers.0.self_attn.q_proj"
    )
    assert layer.scaling["default"] == 4.0


def test_a_target_that_does_not_exist_is_not_ignored(build: Build) -> None:
    with pytest.raises(ConfigError, match="no_such_proj"):
        build("sft", lora_target_modules=["q_proj", "no_such_proj"])


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"lora_target_modules": ["q_proj", "no_such_proj"]}, "lora_target_modules"),
        ({"modules_to_save": ["norm", "lm_headd"]}, "modules_to_save"),
        ({"layers_to_transform": [0, 99]}, "layers_to_transform"),
    ],
)
def test_what_the_built_adapter_lacks_is_told_too(
    keywords: dict[str, Any], named: str, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison with the built model stands by itself: a model whose modules cannot be listed needs it."""
    from aligntune_core.errors import ContractViolation
    from aligntune_trl.model import adapter
    from aligntune_trl.model import problems as early

    monkeypatch.setattr(early, "problems", lambda *_, **__: [])
    monkeypatch.setattr(adapter, "target_problems", lambda *_, **__: [])
    with pytest.raises(ContractViolation, match=named):
        build("sft", **keywords)


def test_dropout_that_dpo_switches_off_is_told(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="aligntune"):
        build("dpo", lora_dropout=0.1)
    assert "lora_dropout=0.1 has no effect" in caplog.text


def test_bf16_keeps_adapters_in_float32(
    build: Build, look: Look, tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch

    trainer = build("sft", precision="bf16", max_steps=1)
    trainer.train()
    trainable = {p.dtype for p in trainer.model.parameters() if p.requires_grad}
    frozen = {p.dtype for p in trainer.model.parameters() if not p.requires_grad}
    assert (trainable, frozen) == ({torch.float32}, {torch.bfloat16})
    assert trainer.native.args.bf16
    full = build("sft", "full", precision="bf16", use_peft=False, lora_r=16)
    assert {p.dtype for p in full.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"lora_init": "loftq"}, "loftq"),
        ({"lora_init": "pissa", "quantization": {"load_in_4bit": True}}, "pissa"),
        ({"lora_init": "pissa", "use_dora": True}, "pissa"),
        ({"lora_target_modules": ["lm_head"]}, "lm_head"),
        ({"merge_adapter": True}, "merge_adapter"),
    ],
)
def test_what_cannot_be_is_refused_before_weights(keywords: dict[str, Any], named: str, build: Build) -> None:
    with pytest.raises(ConfigError, match=named):
        build("sft", **keywords)
