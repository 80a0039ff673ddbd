"""Adapters on embeddings: the reference, merges and a vocabulary of another size are the trained model's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from aligntune import create_rl_trainer, create_sft_trainer
from aligntune_core.errors import ConfigError
from aligntune_core.testing.tiny import make_config, make_tokenizer

ROWS = [{"prompt": f"Say {i}", "completion": "Paris " * (i + 1)} for i in range(8)]
PAIRS = [{"prompt": f"Say {i}", "chosen": "Paris", "rejected": "no " * (i + 1)} for i in range(8)]
TOKENS = torch.arange(32).view(2, 16)
ON_EMBEDDING = {"lora_target_modules": ["q_proj", "embed_tokens"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a model with tied embeddings and of one with two."""
    folders = {}
    for name, tied in (("tied", True), ("untied", False)):
        folder, tokenizer = tmp_path_factory.mktemp(name), make_tokenizer()
        torch.manual_seed(0)
        LlamaForCausalLM(make_config(tokenizer, tie_word_embeddings=tied)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[name] = str(folder)
    return folders


def trained(model: Any, folder: Path, **options: Any) -> Any:
    options = {"backend": "trl", "max_steps": 3, "batch_size": 4, "precision": "fp32", **options}
    trainer = create_sft_trainer(
        model_name=model,
        dataset_name=ROWS,
        learning_rate=1e-2,
        save_strategy="no",
        output_dir=str(folder),
        **options,
    )
    trainer.train()
    return trainer


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(TOKENS).logits.float()


def first(folder: Path, name: str) -> float:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return next(float(record[name]) for record in map(json.loads, lines) if name in record)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tied", "untied"])
@pytest.mark.parametrize("precomputed", [False, True])
def test_the_first_dpo_loss_on_an_adapter_on_embeddings_is_ln_2(
    models: dict[str, str], tmp_path: Path, name: str, precomputed: bool
) -> None:
    trained(models[name], tmp_path / "a", **ON_EMBEDDING)
    create_rl_trainer(
        algorithm="dpo",
        model_name=str(tmp_path / "a"),
        dataset_name=PAIRS,
        backend="trl",
        max_steps=1,
        batch_size=4,
        precompute_ref_log_probs=precomputed,
        save_strategy="no",
        output_dir=str(tmp_path / "b"),
    ).train()
    assert first(tmp_path / "b", "loss") == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("name", ["tied", "untied"])
@pytest.mark.parametrize("backend", ["trl", "torch"])
@pytest.mark.parametrize(
    "where",
    [
        ON_EMBEDDING,
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"lora_target_modules": ["q_proj"]},
    ],
    ids=lambda where: "+".join(next(iter(where.values()))),
)
def test_a_merged_model_gives_the_logits_of_the_trained_one(
    models: dict[str, str], tmp_path: Path, name: str, backend: str, where: dict[str, Any]
) -> None:
    trainer = trained(models[name], tmp_path / "a", backend=backend, **where)
    right = logits(trainer._engine.model)
    trainer.save_model(str(tmp_path / "m"), merged=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert (logits(merged) - right).abs().max() < 1e-5
    untouched = where == {"lora_target_modules": ["q_proj"]}
    assert merged.config.tie_word_embeddings == (name == "tied" and untouched)


@pytest.mark.parametrize("name", ["tied", "untied"])
def test_training_on_a_merged_adapter_on_embeddings_starts_at_it(
    models: dict[str, str], tmp_path: Path, name: str
) -> None:
    from peft import AutoPeftModelForCausalLM

    right = logits(trained(models[name], tmp_path / "a", **ON_EMBEDDING)._engine.model)
    create = create_sft_trainer(
        model_name=str(tmp_path / "a"),
        merge_adapter=True,
        dataset_name=ROWS,
        backend="trl",
        max_steps=1,
        precision="fp32",
        save_strategy="no",
        output_dir=str(tmp_path / "b"),
    )
    assert (logits(create._engine.model) - right).abs().max() < 1e-5
    create.train()
    read = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "b")
    assert (logits(read) - logits(create._engine.model)).abs().max() < 1e-5


def resized(model: str) -> tuple[Any, Any]:
    """A model in memory with two tokens more, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<tool>", "</tool>"], special_tokens=True)
    larger = AutoModelForCausalLM.from_pretrained(model)
    larger.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return larger, tokenizer


@pytest.mark.parametrize("name", ["tied", "untied"])
@pytest.mark.parametrize("whole", [None, ["embed_tokens", "lm_head"]])
def test_an_adapter_of_a_resized_vocabulary_is_continued_and_merged(
    models: dict[str, str], tmp_path: Path, name: str, whole: list[str] | None
) -> None:
    model, tokenizer = resized(models[name])
    trainer = trained(model, tmp_path / "a", tokenizer_name=tokenizer, modules_to_save=whole)
    right = logits(trainer._engine.model)
    for merge in (False, True):
        dpo = create_rl_trainer(
            algorithm="dpo",
            model_name=str(tmp_path / "a"),
            merge_adapter=merge,
            dataset_name=[{**pair, "chosen": "<tool> Paris"} for pair in PAIRS],
            backend="trl",
            max_steps=1,
            batch_size=4,
            precision="fp32",
            save_strategy="no",
            output_dir=str(tmp_path / f"b{merge}"),
        )
        assert (logits(dpo._engine.model) - right).abs().max() < 1e-5
        dpo.train()
        assert first(tmp_path / f"b{merge}", "loss") == pytest.approx(math.log(2), abs=1e-5)


def test_embeddings_of_two_sizes_in_an_adapter_are_refused(models: dict[str, str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model, tokenizer = resized(models["untied"])
    trained(model, tmp_path / "a", tokenizer_name=tokenizer)
    file = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("lm_head.weight"))
    save_file({**tensors, name: tensors[name][:-1].contiguous()}, file, {"format": "pt"})
    with pytest.raises(ConfigError, match="they must be of one size"):
        trained(str(tmp_path / "a"), tmp_path / "b")


@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_new_tokens_have_rows_that_are_saved_continued_and_merged(
    models: dict[str, str], tmp_path: Path, backend: str
) -> None:
    whole = ["embed_tokens", "lm_head"]
    trainer = trained(
        models["tied"],
        tmp_path / "a",
        backend=backend,
        new_tokens=["<tool>", "</tool>"],
        modules_to_save=whole,
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    assert tokenizer.convert_tokens_to_ids("</tool>") == len(tokenizer) - 1
    model = trainer._engine.model
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    trainer.save_model(str(tmp_path / "m"), merged=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert (logits(merged) - logits(model)).abs().max() < 1e-5
    again = trained(str(tmp_path / "a"), tmp_path / "b", max_steps=1)
    assert again._engine.model.get_input_embeddings().weight.shape[0] == len(tokenizer)


def test_new_tokens_beside_a_continued_adapter_are_refused(models: dict[str, str], tmp_path: Path) -> None:
    trained(models["tied"], tmp_path / "a", max_steps=1)
    with pytest.raises(ConfigError, match="new_tokens: the adapter that is continued"):
        trained(str(tmp_path / "a"), tmp_path / "b", new_tokens=["<tool>"])
