"""What comes out of a trained engine: merged weights, completions, figures, checkpoints that are the best."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import RunError

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look, Rows

pytestmark = pytest.mark.backend


@pytest.mark.parametrize(
    "keywords", [{}, {"use_dora": True}, {"lora_init": "pissa"}], ids=["lora", "dora", "pissa"]
)
def test_merged_model_is_the_trained_one(
    keywords: dict[str, Any], build: Build, look: Look, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    trainer = build("sft", learning_rate=1e-2, **keywords)
    trainer.train()
    trained = look.logits(trainer.model)
    trainer.save_model(tmp_path / "merged", merged=True)
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert (look.logits(written) - trained).abs().max() < 1e-5
    assert torch.equal(look.logits(trainer.model), trained), "merging must leave the policy as it was"
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["architectures"] == [
        "LlamaForCausalLM"
    ]


def test_a_wrong_merge_is_not_called_done(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk or library fault is played by an adapter that changes while it is written."""
    from aligntune_trl.model import merging

    trainer = build("sft", learning_rate=1e-2)
    trainer.train()
    copied = merging._copy_on_cpu

    def damaged(model: Any) -> Any:
        import torch

        clone = copied(model)
        with torch.no_grad():
            for name, parameter in clone.named_parameters():
                if "lora_B" in name:
                    parameter.zero_()
        return clone

    monkeypatch.setattr(merging, "_copy_on_cpu", damaged)
    with pytest.raises(RunError, match="differs from the trained one"):
        trainer.save_model(tmp_path / "merged", merged=True)


def test_a_full_model_is_written_whole_merged_or_not(build: Build, look: Look, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer = build("sft", use_peft=False, lora_r=16)
    trainer.train()
    trainer.save_model(merged=True)
    for folder in (tmp_path / "run", tmp_path / "run" / "merged"):
        written = AutoModelForCausalLM.from_pretrained(folder)
        assert torch.equal(look.logits(written), look.logits(trainer.model))
    with pytest.raises(RunError, match="is a file; give a folder"):
        trainer.save_model(tmp_path / "run" / "metrics.jsonl")
    assert AutoTokenizer.from_pretrained(tmp_path / "run").chat_template


def test_figures_of_sft(build: Build, sft_rows: Rows) -> None:
    trainer = build("sft", eval_dataset=sft_rows[:6], eval_strategy="steps", eval_steps=1, max_steps=2)
    trainer.train()
    found = trainer.evaluate()
    assert found["loss"] == found["eval_loss"]
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert 0 <= found["token_accuracy"] <= 1
    assert trainer.evaluate(sft_rows[:6])["eval_loss"] == found["eval_loss"]
    assert trainer.evaluate(sft_rows[6:12])["eval_loss"] != found["eval_loss"]


def test_figures_of_dpo(build: Build, dpo_rows: Rows) -> None:
    trainer = build("dpo", eval_dataset=dpo_rows[:8], max_steps=12, learning_rate=1e-2)
    start = trainer.evaluate()
    assert start["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert start["reward_margin"] == pytest.approx(0, abs=1e-6)
    trainer.train()
    found = trainer.evaluate()
    assert found["reward_margin"] > 0
    assert found["reward_accuracy"] > 0.5
    assert found["eval_loss"] < start["eval_loss"]


def test_the_best_checkpoint_is_what_ends_up_saved(build: Build, sft_rows: Rows) -> None:
    """Told that a larger loss is better, the trainer has to end with an earlier checkpoint than the last."""
    trainer = build(
        "sft",
        eval_dataset=sft_rows[:6],
        max_steps=4,
        metric_for_best_model="eval_loss",
        greater_is_better=True,
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
    )
    trainer.train()
    state = trainer.native.state
    figures = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
    assert max(figures) > figures[-1]
    assert state.best_metric == max(figures)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(max(figures))


def test_completions(build: Build, tiny_model_dir: Path) -> None:
    """Batched and padded on the left, each prompt is completed as it is alone; training state stays as it was."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer = build("sft", learning_rate=1e-2)
    prompts: list[Any] = ["bread", "warm water and salt and yeast", [{"role": "user", "content": "oven"}]]
    together = trainer.generate(prompts, max_new_tokens=6)
    assert together == [trainer.generate([prompt], max_new_tokens=6)[0] for prompt in prompts]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "bread"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    by_hand = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    assert together[0] == tokenizer.decode(by_hand[0, ids.shape[1] :], skip_special_tokens=True)
    before = trainer.generate("bread", max_new_tokens=6)
    trainer.train()
    assert trainer.tokenizer.padding_side == "right"
    assert isinstance(before, list)
    sampled = {trainer.generate("bread", max_new_tokens=6, temperature=2.0)[0] for _ in range(5)}
    assert len(sampled) > 1


def test_nothing_is_printed_by_the_libraries(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = build("sft")
    capsys.readouterr()
    trainer.train()
    printed = capsys.readouterr()
    assert "{'loss'" not in printed.out + printed.err
    assert "it/s" not in printed.out + printed.err
