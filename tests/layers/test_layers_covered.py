"""LoRA on all linear layers, architecture by architecture: what carries an adapter learns, and the rest is told.

A handful runs always, all of them with ``-m slow``.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config.schema.weights import PeftConfig
from aligntune_core.testing.tiny import make_tokenizer
from tests.layers.architectures import ALL, make, write

QUICK = ("llama", "gpt2", "qwen3_moe", "deepseek_v3", "gpt_oss", "jamba", "mamba2")
TRAINED_QUICK = ("qwen3_next", "llama4_text")
LORA = PeftConfig(r=4, alpha=8, target_modules="all-linear")


def _each(quick: tuple[str, ...]) -> list[Any]:
    return [pytest.param(kind, marks=() if kind in quick else pytest.mark.slow) for kind in ALL]


def _logits(model: Any) -> Any:
    import torch

    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(5, 45).view(2, 20), use_cache=False).logits


def _adapted(model: Any, targets: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **targets.arguments()))


def _carrying(adapted: Any) -> set[int]:
    """Ids of the parameters that have matrices A and B, asked of peft's own layers."""
    from peft.tuners.lora.layer import LoraLayer

    layers = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
    return {id(m.get_param() if hasattr(m, "get_param") else m.get_base_layer().weight) for m in layers}


def _matrices(model: Any) -> dict[str, Any]:
    """Full name -> each weight of two dimensions or more, but for embeddings, the output head and biases."""
    from torch import nn

    head = model.get_output_embeddings()
    apart = {id(head.weight)} | {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return {
        name: p
        for name, p in model.named_parameters()
        if p.ndim >= 2 and sorted(p.shape)[-2] > 1 and id(p) not in apart and "bias" not in name
    }


@pytest.mark.parametrize("kind", _each(QUICK))
def test_every_weight_carries_an_adapter_or_is_named(kind: str, tmp_path: Path) -> None:
    """Known from the configuration alone; saved and merged it is the model that was trained, with plain peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from aligntune_core.model.layers import model_skeleton
    from aligntune_core.model.targets import built_targets, resolve_targets

    model = make(kind, make_tokenizer())
    model.save_pretrained(tmp_path / "base")
    matrices = _matrices(model)
    targets = resolve_targets(model_skeleton(model.config), LORA)
    adapted = _adapted(model, targets)

    carrying = _carrying(adapted)
    left = {weight.name for group in targets.left.values() for weight in group}
    assert {name for name, p in matrices.items() if id(p) not in carrying} == left
    assert bool(targets.remark()) == bool(left)
    assert built_targets(adapted, "all-linear", targets) == "all-linear"

    torch.manual_seed(0)
    adapted.train()
    for _ in range(6):
        ids = torch.randint(5, 400, (2, 32))
        adapted(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    idle = [
        n for n, p in adapted.named_parameters() if "lora_B" in n and (p.grad is None or not p.grad.any())
    ]
    assert not idle

    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.05)
    trained = _logits(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    reread = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert torch.allclose(_logits(reread), trained, atol=1e-5)
    merged = copy.deepcopy(reread).merge_and_unload(safe_merge=True)
    assert torch.allclose(_logits(merged), trained, atol=1e-4)


@pytest.mark.backend
@pytest.mark.parametrize("kind", _each(TRAINED_QUICK))
def test_one_step_is_the_same_on_both_backends(kind: str, tmp_path: Path) -> None:
    """The same matrices on the same layers, and the same loss; each folder is read with plain peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from aligntune import create_sft_trainer

    folder = write(kind, tmp_path / "model", make_tokenizer())
    rows = [{"prompt": "Say where", "completion": "Paris, by the river"}] * 4
    losses, shapes = [], []
    for backend in ("trl", "torch"):
        trainer = create_sft_trainer(
            model_name=str(folder), dataset_name=rows, backend=backend, max_steps=1, batch_size=2, lora_r=4,
            learning_rate=1e-2, output_dir=str(tmp_path / backend), save_strategy="no",
        )  # fmt: skip
        before = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if "lora_B" in n}
        losses.append(trainer.train().final_loss)
        after = dict(trainer.model.named_parameters())
        assert any(not torch.equal(before[name], after[name]) for name in before)
        shapes.append({name: p.shape for name, p in after.items() if "lora_" in name})
        reread = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), trainer.output_dir)
        assert torch.allclose(_logits(reread), _logits(trainer.model), atol=1e-5)
    assert shapes[0] == shapes[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
