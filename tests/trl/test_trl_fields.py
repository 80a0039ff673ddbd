"""Settings that take effect while a run goes on: each is seen in what the run does, not in what it was handed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.errors import CheckpointError, ConfigError
from aligntune_core.run import checkpoints, events

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Look, Rows

pytestmark = pytest.mark.backend


def _lines(trainer: Any) -> list[dict[str, Any]]:
    return events.read(trainer.output_dir / "metrics.jsonl")


def _steps(trainer: Any, figure: str) -> list[int]:
    return [line["step"] for line in _lines(trainer) if figure in line]


def _saved(trainer: Any) -> list[str]:
    return [folder.name for folder in checkpoints.checkpoints(trainer.output_dir)]


def test_shares_of_all_steps(build: Build, sft_rows: Rows) -> None:
    trainer = build(
        "sft", max_steps=7, eval_dataset=sft_rows[:4], eval_steps=0.3, save_strategy="steps", save_steps=0.5
    )
    trainer.train()
    assert _steps(trainer, "eval_loss") == [3, 6, 7]  # the last step is in any case
    assert _saved(trainer) == ["checkpoint-4", "checkpoint-7"]
    assert (trainer.effective["run.eval_steps"], trainer.effective["run.save_steps"]) == (3, 4)


def test_so_many_an_epoch(build: Build, sft_rows: Rows) -> None:
    """22 rows in batches of 4 make epochs of 6 steps."""
    trainer = build(
        "sft",
        max_steps=None,
        num_epochs=2,
        eval_dataset=sft_rows[:4],
        evals_per_epoch=2,
        saves_per_epoch=1,
        save_strategy="steps",
        load_best_model_at_end=True,
    )
    trainer.train()
    assert _steps(trainer, "eval_loss") == [3, 6, 9, 12]
    assert _saved(trainer) == ["checkpoint-6", "checkpoint-12"]


def test_so_many_an_epoch_of_packed_rows(build: Build, sft_rows: Rows) -> None:
    """How many sequences rows are packed into TRL alone knows; it takes the share that this is of all steps."""
    trainer = build(
        "sft",
        max_steps=None,
        num_epochs=2,
        batch_size=1,
        packing=True,
        max_seq_length=64,
        eval_dataset=sft_rows[:4],
        evals_per_epoch=2,
        save_strategy="steps",
        saves_per_epoch=2,
        load_best_model_at_end=True,
    )
    steps = trainer.train().steps
    quarter = -(-steps // 4)
    assert trainer.effective["run.eval_steps"] == 0.25
    assert _steps(trainer, "eval_loss") == sorted({*range(quarter, steps + 1, quarter), steps})


def test_the_best_of_checkpoints_that_are_not_all_evaluated_is_refused(build: Build, sft_rows: Rows) -> None:
    best: dict[str, Any] = {
        "eval_dataset": sft_rows[:4],
        "save_strategy": "steps",
        "load_best_model_at_end": True,
    }
    with pytest.raises(ConfigError, match="multiple of eval_steps, not 4 and 3"):
        build("sft", max_steps=7, eval_steps=0.3, save_steps=0.5, **best)


def test_early_stopping_ends_the_run_and_leaves_its_model(
    build: Build, sft_rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = build(
        "sft",
        max_steps=8,
        eval_dataset=sft_rows[:4],
        eval_steps=1,
        early_stopping_patience=2,
        early_stopping_threshold=10.0,
    )
    assert trainer.effective["run.early_stopping_patience"] == 2
    assert trainer.effective["run.early_stopping_threshold"] == 10.0
    with caplog.at_level("INFO", "aligntune"):
        result = trainer.train()
    # The first evaluation is the best so far; the next two are not better by 10.
    assert result.steps == 3
    assert result.stopped is None
    assert (trainer.output_dir / "adapter_model.safetensors").is_file()
    assert "early stopping at step 3 of 8: eval_loss was best at step" in caplog.text
    assert trainer.train().steps == 3  # and counts anew


def test_a_callback_of_ones_own_without_a_metric_is_refused_before_weights(build: Build) -> None:
    from transformers import EarlyStoppingCallback

    with pytest.raises(
        ConfigError, match="EarlyStoppingCallback needs held-out rows and metric_for_best_model"
    ):
        build("sft", callbacks=[EarlyStoppingCallback(1)])


def test_what_gets_better_is_not_stopped(build: Build, sft_rows: Rows) -> None:
    trainer = build("sft", max_steps=4, eval_dataset=sft_rows[:4], eval_steps=1, early_stopping_patience=1)
    assert trainer.train().steps == 4


def test_neftune_disturbs_training_and_not_the_evaluation(build: Build, sft_rows: Rows) -> None:
    def first(folder: str, **more: Any) -> tuple[float, float]:
        trainer = build("sft", folder, max_steps=1, eval_dataset=sft_rows[:4], eval_on_start=True, **more)
        trainer.train()
        lines = _lines(trainer)
        assert (lines[0]["step"], lines[1]["step"]) == (0, 1)
        return lines[0]["eval_loss"], lines[1]["loss"]

    plain, noisy = first("plain"), first("noisy", neftune_noise_alpha=50.0)
    assert noisy[0] == plain[0]
    assert noisy[1] != plain[1]


def test_a_run_that_broke_off_leaves_no_noise_to_the_next(build: Build) -> None:
    trainer = build("sft", max_steps=2, neftune_noise_alpha=50.0)
    hooks: list[int] = []

    def broken(_: Any) -> None:
        raise RuntimeError("a listener")

    trainer.on_event = broken
    with pytest.raises(RuntimeError, match="a listener"):
        trainer.train()
    embeddings = trainer.model.get_input_embeddings()
    trainer.on_event = lambda _: hooks.append(len(embeddings._forward_hooks))
    trainer.train()
    assert set(hooks[:2]) == {1}


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_b_matrices_learn_faster(algorithm: str, build: Build) -> None:
    """AdamW's first step moves a weight by its learning rate, and B starts at 0."""
    trainer = build(algorithm, max_steps=1, learning_rate=1e-3, loraplus_lr_ratio=8, weight_decay=0.1)
    assert trainer.effective["optim.loraplus_lr_ratio"] == 8
    trainer.train()
    moved = [p for name, p in trainer.model.named_parameters() if "lora_B" in name and p.requires_grad]
    assert max(float(p.detach().abs().max()) for p in moved) == pytest.approx(8e-3, rel=1e-3)
    groups = [g for g in trainer.native.optimizer.param_groups if g["params"]]
    assert [(g["initial_lr"], g["weight_decay"]) for g in groups] == [(1e-3, 0.1), (8e-3, 0.1)]
    assert _lines(trainer)[0]["learning_rate"] == 1e-3


def test_loraplus_needs_an_adapter(build: Build) -> None:
    with pytest.raises(ConfigError, match="loraplus_lr_ratio=4"):
        build("sft", use_peft=False, loraplus_lr_ratio=4)


@pytest.mark.parametrize("schedule", ["cosine_with_min_lr", "cosine_warmup_with_min_lr", "polynomial"])
def test_a_schedule_ends_at_the_minimum(schedule: str, build: Build) -> None:
    trainer = build("sft", max_steps=4, lr_scheduler=schedule, min_learning_rate=1e-4, warmup_steps=1)
    trainer.train()
    rates = [line["learning_rate"] for line in _lines(trainer) if "loss" in line]
    # The one with a warm-up of its own is there with the last step, the others after it.
    assert min(rates[-1], trainer.native.lr_scheduler.get_last_lr()[0]) == pytest.approx(1e-4)
    assert min(rates[1:]) >= 1e-4


def test_settings_of_a_schedule_change_it(build: Build) -> None:
    """A cosine of a whole wave is back at the peak where half a wave ends at 0."""
    trainer = build("sft", lr_scheduler="cosine", lr_scheduler_kwargs={"num_cycles": 1.0})
    trainer.train()
    assert trainer.native.lr_scheduler.get_last_lr() == pytest.approx([1e-3, 1e-3])


def test_a_model_alone_is_no_checkpoint_to_resume_from(build: Build) -> None:
    keywords: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "save_only_model": True}
    trainer = build("sft", **keywords)
    trainer.train()
    folder = trainer.output_dir / "checkpoint-2"
    assert (folder / "adapter_model.safetensors").is_file()
    assert not list(folder.glob("*.pt"))
    with pytest.raises(CheckpointError, match=r"checkpoint-\d holds the weights without the optimiser"):
        build("sft", **keywords).train(resume=True)
    (trainer.output_dir / "aligntune.json").unlink()
    with pytest.raises(CheckpointError, match="checkpoint-2 holds the weights without the optimiser"):
        build("sft").train(resume=folder)


def test_the_first_step_is_logged_too(build: Build) -> None:
    trainer = build("sft", max_steps=4, logging_steps=2, logging_first_step=True)
    trainer.train()
    assert _steps(trainer, "loss") == [1, 2, 4]


@pytest.mark.parametrize("algorithm", ["sft", "dpo"])
def test_reentrant_checkpointing_learns_the_same(algorithm: str, build: Build, look: type[Look]) -> None:
    def losses(folder: str, **more: Any) -> tuple[list[float], Any]:
        trainer = build(algorithm, folder, **more)
        trainer.train()
        kept = [m for m in trainer.model.modules() if getattr(m, "gradient_checkpointing", False)]
        return look.losses(trainer.native), kept and kept[0]._gradient_checkpointing_func.keywords

    plain, none = losses("plain", gradient_checkpointing=False)
    again, kwargs = losses(
        "again", gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": True}
    )
    assert (none, kwargs) == ([], {"use_reentrant": True})
    assert again == pytest.approx(plain, rel=1e-5)
    assert plain[0] != plain[-1]


def test_reentrance_is_off_unless_asked_for(build: Build) -> None:
    kwargs = {"preserve_rng_state": False}
    trainer = build("sft", gradient_checkpointing=True, gradient_checkpointing_kwargs=kwargs)
    assert trainer.effective["optim.gradient_checkpointing_kwargs"] == {"use_reentrant": False, **kwargs}
