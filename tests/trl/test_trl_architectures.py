"""Models other than Llama: what cannot be trained is refused before weights load, a mixture of experts adds no loss."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from tests.trl.conftest import Build

pytestmark = pytest.mark.backend

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def _write(kind: str, folder: Path, tokenizer_of: Path) -> Path:
    """A random model of one layer, with the tiny model's tokenizer."""
    import torch
    import transformers as hf

    tokenizer = hf.AutoTokenizer.from_pretrained(tokenizer_of)
    shape = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    shape["eos_token_id"] = tokenizer.eos_token_id
    experts = {"num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}
    make: dict[str, Any] = {
        "t5": lambda: hf.T5ForConditionalGeneration(
            hf.T5Config(**shape, d_model=32, d_ff=64, d_kv=16, num_layers=1, num_heads=2)
        ),
        "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**shape, **SMALL)),
        "headless": lambda: hf.Qwen2Model(hf.Qwen2Config(**shape, **SMALL, num_key_value_heads=2)),
        "mamba": lambda: hf.MambaForCausalLM(
            hf.MambaConfig(**shape, hidden_size=32, num_hidden_layers=1, state_size=4)
        ),
        "bloom": lambda: hf.BloomForCausalLM(hf.BloomConfig(**shape, hidden_size=32, n_layer=1, n_head=2)),
        "gpt_neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**shape, **SMALL)),
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(**shape, n_positions=24, n_embd=32, n_layer=1, n_head=2)
        ),
        "mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**shape, **SMALL, **experts)),
    }
    torch.manual_seed(0)
    make[kind]().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("backend", ["trl", "torch"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("t5", "t5 has an encoder and a decoder"),
        ("bert", "this bert is an encoder"),
        ("headless", "this qwen2 comes without its language model head"),
    ],
)
def test_no_causal_language_model(
    kind: str, message: str, backend: str, build: Build, tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = _write(kind, tmp_path / kind, tiny_model_dir)
    for file in folder.glob("*.safetensors"):
        file.write_bytes(b"")  # what reads weights fails
    with pytest.raises(ConfigError, match=message):
        build("dpo", model_name=str(folder), backend=backend)


def test_no_reward_model_can_be_made(build: Build, tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = _write("mamba", tmp_path / "mamba", tiny_model_dir)
    with pytest.raises(ConfigError, match="no sequence classifier for mamba"):
        build("reward", model_name=str(folder))


def test_a_model_in_memory_without_head(build: Build, tiny_model_dir: Path) -> None:
    from transformers import AutoModel

    with pytest.raises(ConfigError, match="without its language model head"):
        build("sft", model_name=AutoModel.from_pretrained(tiny_model_dir))


def test_a_reward_model_is_no_policy_of_torch(build: Build, tiny_model_dir: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    judge = AutoModelForSequenceClassification.from_pretrained(tiny_model_dir, num_labels=1)
    with pytest.raises(ConfigError, match="this is a classifier"):
        build("sft", model_name=judge, backend="torch")


@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_experts_add_no_loss(backend: str, build: Build, tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = _write("mixtral", tmp_path / "mixtral", tiny_model_dir)
    trainer = build("dpo", backend, model_name=str(folder), backend=backend, use_peft=False, lora_r=16)
    trainer.train()
    lines = (trainer.output_dir / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_experts_are_saved_with_their_settings_and_generate(
    build: Build, tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = _write("mixtral", tmp_path / "mixtral", tiny_model_dir)
    trainer = build("sft", model_name=str(folder), use_peft=False, lora_r=16)
    trainer.train()
    assert len(trainer.generate(["hi", "warm bread and water"], max_new_tokens=3)) == 2
    before, after = (
        json.loads((where / "config.json").read_text()) for where in (folder, trainer.output_dir)
    )
    for name in ("router_aux_loss_coef", "output_router_logits"):
        assert after.get(name) == before.get(name)


@pytest.mark.parametrize("kind", ["bloom", "mamba"])
def test_packed_rows_that_would_see_each_other(
    kind: str, build: Build, tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = _write(kind, tmp_path / kind, tiny_model_dir)
    with pytest.raises(ConfigError, match=f"packing: in a {kind} a row would see"):
        build("sft", model_name=str(folder), packing=True, use_peft=False, lora_r=16, max_seq_length=64)


def test_packed_rows_that_stay_apart(build: Build, tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = _write("gpt_neox", tmp_path / "gpt_neox", tiny_model_dir)
    trainer = build("sft", model_name=str(folder), packing=True, max_seq_length=64)
    assert trainer.effective["data.packing"] is True
    assert trainer.train().steps == 3


@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_nothing_is_left_of_a_finished_run(backend: str, build: Build) -> None:
    """In the middle of an epoch too: no step is taken, and the weights are the checkpoint's."""
    given: dict[str, Any] = {"backend": backend, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    given |= {"lr_scheduler": "constant"}
    first = build("sft", **given).train()
    written = Path(first.model_path) / "adapter_model.safetensors"
    before = written.read_bytes()
    again = build("sft", **given).train(resume=True)
    assert (again.steps, again.stopped) == (4, None)
    assert again["train_loss"] == pytest.approx(first["train_loss"])
    assert written.read_bytes() == before


@pytest.mark.parametrize(("writer", "reader"), [("trl", "torch"), ("torch", "trl")])
def test_another_backends_checkpoint(writer: str, reader: str, build: Build) -> None:
    given: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    build("sft", backend=writer, **given).train()
    with pytest.raises(CheckpointError, match="another backend's"):
        build("sft", backend=reader, **{**given, "max_steps": 6}).train(resume=True)


def test_an_adapter_on_embeddings(build: Build) -> None:
    trainer = build("sft", lora_target_modules=["q_proj", "embed_tokens"])
    assert trainer.effective["peft.target_modules"] == ["embed_tokens", "q_proj"]
    trainer.train()


def test_the_best_checkpoint_by_default_is_that_of_the_least_loss(
    build: Build, sft_rows: list[dict[str, Any]]
) -> None:
    best = {"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 1}
    with pytest.raises(ConfigError, match='save_strategy="best" needs'):
        build("sft", **{**best, "eval_strategy": "no"})
    trainer = build("sft", **best, eval_dataset=sft_rows[:4])
    trainer.train()
    seen = [e["eval_loss"] for e in trainer.native.state.log_history if "eval_loss" in e]
    assert trainer.native.state.best_metric == min(seen)


@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_rows_beyond_the_models_positions(
    backend: str, build: Build, tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = _write("gpt2", tmp_path / "gpt2", tiny_model_dir)
    rows = [{"prompt": "warm bread", "completion": " and water" * 20}] * 4
    given: dict[str, Any] = {"model_name": str(folder), "backend": backend, "dataset_name": rows}
    given |= {"max_steps": 1, "lora_target_modules": ["c_attn"]}
    with pytest.raises(ConfigError, match="this gpt2 has places for 24 tokens, and the longest row takes"):
        build("sft", **given)
    build("sft", **given, max_seq_length=24).train()


def test_completions_beyond_the_models_positions(build: Build, tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = _write("gpt2", tmp_path / "gpt2", tiny_model_dir)
    given: dict[str, Any] = {"model_name": str(folder), "dataset_name": [{"prompt": "hi"}] * 4}
    given |= {"reward_functions": ["length"], "num_generations": 2, "lora_target_modules": ["c_attn"]}
    with pytest.raises(ConfigError, match="with max_completion_length=64"):
        build("grpo", **given, max_completion_length=64)
