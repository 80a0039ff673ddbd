"""Reference and memory: one backbone, the policy as it was, no dropout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Build = Callable[..., Any]


def test_with_an_adapter_there_is_one_backbone(ppo: Build, llama: Build) -> None:
    trainer = ppo(adapter=True)
    backbone = sum(p.numel() for p in llama().parameters())
    own = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert sum(p.numel() for p in trainer.model.parameters()) == backbone + own
    assert own < backbone
    assert trainer.reference.kind == "adapter off"
    assert trainer.reference._model is None


def test_the_reference_is_the_policy_with_its_adapter_off(ppo: Build, llama: Build, logprobs_of: Any) -> None:
    trainer = ppo(adapter=True, learning_rate=1e-2, score=lambda *a: [0, 1, 2, 3], num_train_epochs=9)
    trainer.train()
    flags = {name: p.requires_grad for name, p in trainer.model.named_parameters()}
    with trainer.reference.policy() as reference:
        expected = logprobs_of(reference, trainer)
    assert expected.equal(logprobs_of(llama(), trainer))
    assert not expected.allclose(logprobs_of(trainer.policy, trainer), atol=1e-4)
    assert {name: p.requires_grad for name, p in trainer.model.named_parameters()} == flags


@pytest.mark.parametrize("init", [True, "pissa"])
def test_an_adapter_that_changes_something_is_its_own_reference(
    ppo: Build, llama: Build, lora: Any, tmp_path: Path, init: Any, logged: Any, logprobs_of: Any
) -> None:
    model = lora(llama(), init_lora_weights=init)
    if init is True:  # as if trained before
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
    trainer = ppo(model=model, learning_rate=1e-2, score=lambda *a: [0, 1, 2, 3])
    assert trainer.reference.kind == "frozen adapter"
    start = logprobs_of(trainer.policy, trainer)
    trainer.train()
    with trainer.reference.policy() as reference:
        assert logprobs_of(reference, trainer).allclose(start, atol=1e-6)
    assert not logprobs_of(trainer.policy, trainer).allclose(start, atol=1e-4)
    assert trainer.policy.active_adapter == "default"
    assert logged(trainer)[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert not any(
        "reference" in n or ".ref." in n for n, p in trainer.model.named_parameters() if p.requires_grad
    )
    trainer.save_model(str(tmp_path / "saved"))
    assert not (tmp_path / "saved" / "ref").exists()


def test_without_an_adapter_the_reference_is_given(ppo: Build, llama: Build, lora: Any) -> None:
    with pytest.raises(ValueError, match="needs ref_model"):
        ppo(model=llama(), ref_model=None)
    model = llama()
    with pytest.raises(ValueError, match="the policy itself"):
        ppo(model=model, ref_model=model)
    with pytest.raises(ValueError, match="biases"):
        ppo(model=lora(llama(attention_bias=True), bias="all"))
    trainer = ppo(adapter=False)
    assert not any(p.requires_grad for p in trainer.reference._model.parameters())


def test_dropout_is_off_unless_wanted(ppo: Build, llama: Build, lora: Any) -> None:
    for wanted in (True, False):
        model = lora(llama(attention_dropout=0.3), lora_dropout=0.2)
        trainer = ppo(model=model, disable_dropout=not wanted)
        rates = {m.p for m in trainer.model.modules() if isinstance(m, torch.nn.Dropout)}
        rates |= {m.attention_dropout for m in trainer.model.modules() if hasattr(m, "attention_dropout")}
        assert rates == ({0.2, 0.3} if wanted else {0.0})
