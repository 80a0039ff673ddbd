"""A tiny policy tokenizer, tiny reward models in folders, and distributions that register rewards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WORDS = ("<pad>", "<s>", "</s>", "<unk>", "good", "bad", "so", "user", "assistant", ":", "what", "?", ".")
TEMPLATE = "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + ' . ' }}{% endfor %}"


def _tokenizer(template: str | None = TEMPLATE, **special: str) -> Any:
    """One token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = special or {"pad_token": "<pad>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", **special)
    tokenizer.chat_template = template
    return tokenizer


def _classifier(
    folder: Path, template: str | None = TEMPLATE, cls: str = "LlamaForSequenceClassification", **more: Any
) -> Path:
    """A Llama of a few thousand weights and its tokenizer, saved."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        **{"num_labels": 1, "pad_token_id": 0, **more},
    )
    getattr(transformers, cls)(config).save_pretrained(folder)
    _tokenizer(template).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """``make_tokenizer(template=..., pad_token=..., eos_token=...)``: one token a word."""
    return _tokenizer


@pytest.fixture(scope="session")
def make_classifier() -> Callable[..., Path]:
    """``make_classifier(folder, template=..., cls=..., **config)``: a tiny Llama and its tokenizer, saved."""
    return _classifier


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reward model with a chat template."""
    return _classifier(tmp_path_factory.mktemp("models") / "judge")


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a distribution: ``register(name, module source, entry points, group="aligntune.rewards")``."""
    from aligntune_core.backends.registry import refresh

    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[str] = []

    def install(name: str, source: str, entries: str, group: str = "aligntune.rewards") -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entries}\n")
        modules.append(module)
        refresh()

    yield install
    for module in modules:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    refresh()
