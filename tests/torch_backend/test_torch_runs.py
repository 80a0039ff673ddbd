"""The plain PyTorch backend by itself: resuming, saving, precision, refusals; and that it needs no TRL."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import (
    CheckpointError,
    ConfigError,
    ContractViolation,
    NotHonoured,
    UnsupportedAlgorithm,
)
from aligntune_core.run import checkpoints
from aligntune_core.testing.blocker import run_blocked

if TYPE_CHECKING:
    from tests.torch_backend.conftest import Build, Look

pytestmark = pytest.mark.backend


@pytest.mark.parametrize(
    ("algorithm", "keywords", "step"),
    [
        ("sft", {"lora_dropout": 0.2}, 4),
        ("sft", {"lora_dropout": 0.2}, 6),  # the end of the first epoch
        ("sft", {"use_peft": False, "lora_r": 16}, 4),
        ("dpo", {}, 4),
        ("sft", {"loraplus_lr_ratio": 4.0}, 4),
    ],
    ids=["mid-epoch with dropout", "end of epoch", "full", "dpo", "LoRA+"],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    algorithm: str, keywords: dict[str, Any], step: int, build: Build, look: Look, tmp_path: Path
) -> None:
    import torch

    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": step, **keywords}
    whole = build(algorithm, "whole", **settings)
    whole.train()
    resumed = build(algorithm, "resumed", **settings)
    result = resumed.train(resume=tmp_path / "whole" / f"checkpoint-{step}")
    assert result.steps == 8
    assert look.losses(tmp_path / "resumed") == look.losses(tmp_path / "whole")[step:]
    expected = look.weights(whole.model)
    assert all(torch.equal(weight, expected[name]) for name, weight in look.weights(resumed.model).items())
    assert result["train_loss"] == pytest.approx(sum(look.losses(tmp_path / "whole")) / 8)


def test_patience_goes_on_where_it_was(build: Build, tmp_path: Path) -> None:
    settings = {
        "max_steps": 8,
        "save_strategy": "steps",
        "save_steps": 2,
        "eval_dataset": [{"prompt": "say salt", "completion": "salt"}],
        "eval_steps": 1,
        "early_stopping_patience": 3,
        "early_stopping_threshold": 9.0,
    }
    assert build("sft", "whole", **settings).train().steps == 4
    resumed = build("sft", "resumed", **settings).train(resume=tmp_path / "whole" / "checkpoint-2")
    assert (resumed.steps, resumed.stopped) == (4, None)
    assert build("sft", "whole", **settings).train(resume=True).steps == 4  # nothing is left to train


def test_a_model_alone_is_no_checkpoint_to_resume_from(build: Build, tmp_path: Path) -> None:
    build("sft", save_strategy="steps", save_steps=2, save_only_model=True).train()
    folder = tmp_path / "run" / "checkpoint-2"
    assert not list(folder.glob("*.pt"))
    for trainer in (build("sft", save_strategy="steps", save_only_model=True), build("sft", "other")):
        with pytest.raises(CheckpointError, match="holds the weights without the optimiser"):
            trainer.train(resume=folder)


def test_sigterm_saves_a_complete_checkpoint(build: Build, tmp_path: Path) -> None:
    from torch.optim.optimizer import register_optimizer_step_post_hook

    trainer = build("sft", max_steps=8)
    handle = register_optimizer_step_post_hook(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        result = trainer.train()
    finally:
        handle.remove()
    assert (result.steps, result.stopped) == (1, "SIGTERM")
    assert checkpoints.problem(tmp_path / "run" / "checkpoint-1") is None
    assert build("sft", max_steps=3).train(resume=True).steps == 3


def test_checkpoints_rotate_and_epochs_end_where_they_end(build: Build, tmp_path: Path) -> None:
    build("sft", max_steps=13, save_strategy="epoch", save_total_limit=2).train()
    assert [p.name for p in checkpoints.checkpoints(tmp_path / "run")] == ["checkpoint-12", "checkpoint-13"]


def test_plain_peft_and_transformers_read_what_was_saved(
    build: Build, look: Look, tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    trainer = build("sft", learning_rate=1e-2)
    before = look.logits(trainer.model)
    trainer.train()
    trained = look.logits(trainer.model)
    assert not torch.allclose(before, trained, atol=1e-2)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    assert torch.equal(look.logits(PeftModel.from_pretrained(base, tmp_path / "run")), trained)
    merged = AutoModelForCausalLM.from_pretrained(trainer.save_model(merged=True))
    torch.testing.assert_close(look.logits(merged), trained, atol=1e-5, rtol=0)
    assert torch.equal(look.logits(trainer.model), trained)  # merging leaves the policy alone


@pytest.mark.parametrize("keywords", [{}, {"use_peft": False, "lora_r": 16}, {"lora_bias": "all"}])
def test_dpo_starts_at_ln_2_whatever_trains(
    keywords: dict[str, Any], build: Build, look: Look, tmp_path: Path
) -> None:
    build("dpo", **keywords).train()
    first, *later = look.losses(tmp_path / "run")
    assert first == pytest.approx(math.log(2), abs=1e-6)
    assert all(loss != pytest.approx(first, abs=1e-4) for loss in later)


def test_bf16_keeps_trainable_weights_in_float32(build: Build) -> None:
    import torch

    model = build("sft", precision="bf16").model
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    full = build("sft", precision="bf16", use_peft=False, lora_r=16).model
    assert {p.dtype for p in full.parameters()} == {torch.float32}


def test_a_wrong_precision_does_not_go_unseen(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from aligntune_torch import load

    monkeypatch.setattr(load, "frozen_dtype", lambda config: torch.bfloat16)
    with pytest.raises(ContractViolation, match=r"precision .*asked for 'fp32'.*torch\.bfloat16"):
        build("sft", precision="fp32")


def test_dpo_switches_dropout_off_unless_told_not_to(build: Build) -> None:
    import torch

    def rates(**keywords: Any) -> set[float]:
        model = build("dpo", lora_dropout=0.3, **keywords).model
        return {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}

    assert rates() == {0.0}
    assert rates(disable_dropout=False) == {0.3}


def test_generation_and_evaluation(build: Build) -> None:
    trainer = build("sft", eval_dataset=[{"prompt": "say salt", "completion": "salt"}])
    answers = trainer.generate(["hi", [{"role": "user", "content": "hi"}]], max_new_tokens=4)
    assert len(answers) == 2
    assert answers[0] == answers[1]
    assert answers == trainer.generate(["hi", "hi"], max_new_tokens=4)
    figures = trainer.evaluate()
    assert figures["perplexity"] == pytest.approx(math.exp(figures["eval_loss"]))


def test_completions_are_drawn_as_the_call_says(build: Build) -> None:
    import torch

    trainer = build("sft")
    drawn = {"max_new_tokens": 12, "temperature": 1.0, "n": 3}
    first = trainer.generate(["say salt", "say oven"], seed=5, **drawn)
    assert len(first) == 6
    assert len(set(first[:3])) == 3
    assert trainer.generate(["say salt", "say oven"], seed=6, **drawn) != first
    state = torch.get_rng_state()
    assert trainer.generate(["say salt", "say oven"], seed=5, **drawn) == first
    assert torch.equal(
        torch.get_rng_state(), state
    )  # a seed of the draw leaves the run's own generator alone
    assert trainer.generate(["say salt"], seed=5, **drawn) == first[:3]
    trainer.generate(["say salt"], **drawn)
    assert not torch.equal(torch.get_rng_state(), state)


def test_a_completion_ends_before_the_first_of_its_stops(build: Build) -> None:
    trainer = build("sft")
    drawn = {"max_new_tokens": 40, "temperature": 2.0, "seed": 3}
    (whole,) = trainer.generate(["say salt"], **drawn)
    late, early = whole[-8:-4], whole[8:12]
    (cut,) = trainer.generate(["say salt"], stop=[late, early], **drawn)
    assert cut == whole.split(early)[0].split(late)[0] != whole
    assert trainer.generate(["say salt"], stop="no such text", **drawn) == [whole]


def test_the_end_of_a_prompt_ends_no_completion(build: Build) -> None:
    """The template ends the prompt with a line break, and the untrained model goes on with more of them."""
    trainer = build("sft", max_steps=1)
    (whole,) = trainer.generate(["say salt"], max_new_tokens=6)
    assert whole == "\n" * 6
    assert trainer.generate(["say salt"], max_new_tokens=6, stop="\n" * 7) == [whole]
    assert trainer.generate(["say salt"], max_new_tokens=6, stop="\n" * 6) == [""]


def test_every_problem_of_a_call_is_told_at_once(build: Build) -> None:
    with pytest.raises(ConfigError) as caught:
        build("dpo", precision="fp16", loss_type="ipo", streaming=True)
    assert len(caught.value.problems) == 3
    for keyword in ("fp16", "loss_type", "streaming"):
        assert keyword in str(caught.value)


def test_what_is_in_force_is_read_from_what_was_built(build: Build) -> None:
    """A wrong value in any of the objects that a run is built of shows."""
    trainer = build("sft", learning_rate=3e-4, lora_r=4)
    engine = trainer.native
    assert trainer.effective["optim.learning_rate"] == 3e-4
    engine.optimizer.param_groups[0]["initial_lr"] = 1.0
    engine.optimizer.param_groups[0]["betas"] = (0.5, 0.6)
    engine.model.peft_config["default"].r = 3
    values = engine.effective()
    assert (values["optim.learning_rate"], values["optim.adam_beta2"], values["peft.r"]) == (1.0, 0.6, 3)
    assert values["data.rows"] == 22


def test_closing_lets_go_of_the_model(build: Build) -> None:
    trainer = build("sft")
    engine = trainer.native
    assert engine.accelerator._models
    engine.close()
    assert engine.accelerator._models == []


REFUSED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "a loss it lacks": ("dpo", {"loss_type": "ipo"}, ConfigError, r"loss_type=\['ipo'\].*its default only"),
    "dft": ("sft", {"loss_type": "dft"}, ConfigError, "loss_type='dft'"),
    "fp16": ("sft", {"precision": "fp16"}, ConfigError, "no loss scaling"),
    "a schedule that is none": ("sft", {"lr_scheduler": "cosin"}, ConfigError, 'Did you mean "cosine"'),
    "a schedule with settings": (
        "sft",
        {"lr_scheduler": "warmup_stable_decay"},
        ConfigError,
        "num_decay_steps",
    ),
    "settings of another schedule": (
        "sft",
        {"lr_scheduler": "cosine", "lr_scheduler_kwargs": {"power": 2}},
        ConfigError,
        "does not take",
    ),
    "a schedule by the loss": (
        "sft",
        {"lr_scheduler": "reduce_lr_on_plateau"},
        ConfigError,
        "follows a measured loss",
    ),
    "noise on embeddings": ("sft", {"neftune_noise_alpha": 5}, NotHonoured, "neftune_noise_alpha"),
    "the best checkpoint": (
        "sft",
        {"save_strategy": "best", "eval_dataset": [{"prompt": "salt ", "completion": "water"}]},
        ConfigError,
        "saves by steps or epochs",
    ),
    "streams": ("sft", {"streaming": True}, ConfigError, "tokenises all rows"),
    "packing": ("sft", {"packing": True}, NotHonoured, "packing"),
    "grpo": ("grpo", {"num_generations": 4}, UnsupportedAlgorithm, "trains sft and dpo only"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_weights_load(case: str, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from aligntune_torch import load

    def never(*_: Any) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(load, "load", never)
    algorithm, keywords, error, text = REFUSED[case]
    with pytest.raises(error, match=text):
        build(algorithm, **keywords)


def test_a_tokenizer_without_an_end_is_refused(build: Build, tiny_model_dir: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="has no end-of-sequence token"):
        build("sft", tokenizer_name=tokenizer)


def test_an_adapter_folder_and_more_processes_are_refused(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("sft", "first").train()
    with pytest.raises(ConfigError, match=r"is an adapter folder.*merge it into one first"):
        build("sft", model_name=str(tmp_path / "first"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"one process, and this is one of 2.*in several: trl"):
        build("sft", gradient_accumulation_steps=2)


def test_a_model_in_memory_is_taken_as_it_is(build: Build, look: Look, tiny_model_dir: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    scaled = look.logits(model)
    assert torch.equal(look.logits(build("sft", model_name=model).model), scaled)


def test_it_runs_without_trl(tiny_model_dir: Path, tmp_path: Path) -> None:
    keywords = {
        "model_name": str(tiny_model_dir),
        "backend": "torch",
        "output_dir": str(tmp_path / "run"),
        "max_steps": 1,
        "config": {"algorithm": "sft"},
    }
    code = (
        "from aligntune import create_sft_trainer\n"
        f"settings = {keywords!r}\n"
        "trainer = create_sft_trainer(dataset_name=[{'prompt': 'a', 'completion': 'b'}], **settings)\n"
        "trainer.train()\n"
    )
    done = run_blocked(code, names=("trl", "unsloth"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "aligntune.json").read_text())["total_steps"] == 1
