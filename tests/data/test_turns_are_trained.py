"""Conversations whose template marks the assistant's turns: each backend trains every turn, and no other token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aligntune_core.testing.tiny import make_tiny_model

pytest.importorskip("aligntune_trl")
pytestmark = pytest.mark.backend

MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SAID = ("one", "two three", "four", "five six seven")


@pytest.fixture(scope="module")
def marked_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("marked") / "model", chat_template=MARKED)


def conversations() -> list[dict[str, Any]]:
    roles = ("user", "assistant") * 2
    return [
        {"messages": [{"role": r, "content": f"{i} {w}"} for r, w in zip(roles, SAID, strict=True)]}
        for i in range(4)
    ]


def trained(backend: str, model: Path, folder: Path) -> Any:
    from aligntune import create_sft_trainer

    return create_sft_trainer(
        str(model),
        conversations(),
        backend=backend,
        max_steps=2,
        batch_size=2,
        precision="fp32",
        save_strategy="no",
        output_dir=str(folder),
    )


def test_trl_masks_all_but_the_assistants_turns(marked_model: Path, tmp_path: Path) -> None:
    native = trained("trl", marked_model, tmp_path).native
    row = native.train_dataset[0]
    kept = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    assert native.processing_class.decode(kept) == "0 two three<|im_end|>0 five six seven<|im_end|>"


def test_another_backend_has_the_same_losses(marked_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("aligntune_torch")
    losses = [trained(name, marked_model, tmp_path / name).train()["train_loss"] for name in ("trl", "torch")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
