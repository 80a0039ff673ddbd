"""When a run evaluates and saves, counted by core; and where a schedule ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.config import load_config, plain
from aligntune_core.config.resolve.resolution import resolve, resolve_steps
from aligntune_core.errors import ConfigError
from aligntune_core.types import Device

if TYPE_CHECKING:
    from tests.config.conftest import Make

CPU = Device(kind="cpu")
ROWS = [{"prompt": "a", "completion": "b"}]
HELD_OUT: dict[str, Any] = {"eval_dataset": ROWS}
BEST: dict[str, Any] = {**HELD_OUT, "load_best_model_at_end": True}


def _resolved(config: Any, rows: int = 100, processes: int = 1) -> Any:
    return resolve_steps(resolve(config, CPU), rows, processes)


@pytest.mark.parametrize(
    ("share", "steps", "every"),
    [(0.1, 100, 10), (0.3, 7, 3), (0.07, 100, 7), (0.001, 10, 1), (0.5, 1, 1), (0.999, 10, 10)],
)
def test_a_share_is_rounded_up_to_steps(share: float, steps: int, every: int, sft: Make) -> None:
    run = _resolved(sft(**HELD_OUT, max_steps=steps, eval_steps=share, save_steps=share)).run
    assert (run.eval_steps, run.save_steps) == (every, every)
    assert run.eval_strategy == "steps"


def test_where_the_steps_are_from_is_told(sft: Make) -> None:
    sources = _resolved(
        sft(**HELD_OUT, max_steps=20, eval_steps=0.25, saves_per_epoch=2, batch_size=10)
    ).sources
    assert sources["run.eval_steps"] == "resolved: 0.25 of 20 steps"
    assert sources["run.save_steps"] == "resolved: 2 an epoch of 10 steps"


@pytest.mark.parametrize(
    ("keywords", "processes", "every"),
    [
        ({"num_epochs": 3}, 1, 4),  # 13 steps an epoch
        ({"max_steps": 5}, 1, 4),
        ({"num_epochs": 3, "gradient_accumulation_steps": 2}, 1, 2),
        ({"num_epochs": 3, "gradient_accumulation_steps": 2}, 2, 2),
    ],
)
def test_so_many_an_epoch(keywords: dict[str, Any], processes: int, every: int, sft: Make) -> None:
    config = _resolved(sft(**HELD_OUT, batch_size=8, evals_per_epoch=4, **keywords), processes=processes)
    assert config.run.eval_steps == every
    assert config.run.eval_strategy == "steps"


def test_more_than_there_are_steps_is_each_step(sft: Make) -> None:
    assert _resolved(sft(**HELD_OUT, batch_size=50, evals_per_epoch=9)).run.eval_steps == 1


@pytest.mark.parametrize(("epochs", "share"), [(2, 0.125), (0.25, 1.0), (0.1, 1.0)])
def test_of_packed_rows_it_is_a_share(epochs: float, share: float, sft: Make) -> None:
    run = _resolved(sft(**HELD_OUT, packing=True, num_epochs=epochs, evals_per_epoch=4)).run
    assert run.eval_steps == pytest.approx(share)
    assert run.eval_steps < 1


def test_a_share_of_packed_rows_is_left_to_the_library(sft: Make) -> None:
    assert _resolved(sft(**HELD_OUT, packing=True, eval_steps=0.1)).run.eval_steps == 0.1


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"evals_per_epoch": 2, "eval_strategy": "epoch"}, 'evals_per_epoch=2 needs eval_strategy="steps"'),
        ({"saves_per_epoch": 2, "save_strategy": "epoch"}, 'saves_per_epoch=2 needs save_strategy="steps"'),
        ({"evals_per_epoch": 2, "streaming": True, "max_steps": 9}, "cannot|streamed"),
        ({"evals_per_epoch": 2, "packing": True, "max_steps": 9}, "num_epochs in place of max_steps"),
        ({"eval_steps": 1.5}, "eval_steps=1.5 must be a whole number"),
        ({"eval_steps": 0}, "eval_steps=0"),
        ({"save_steps": -0.5}, "save_steps=-0.5"),
        ({"save_steps": True}, "save_steps"),
        ({**BEST, "eval_steps": 4, "save_steps": 6}, "multiple of eval_steps, not 6 and 4"),
        (
            {**BEST, "eval_steps": 0.2, "save_steps": 0.4, "packing": True},
            "0.4 and 0.2 of a number of steps that packing",
        ),
        ({"early_stopping_patience": 2, "eval_strategy": "no"}, "eval_strategy is 'no'"),
        ({"early_stopping_threshold": 0.1}, "needs early_stopping_patience"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_read(
    keywords: dict[str, Any], text: str, sft: Make
) -> None:
    with pytest.raises(ConfigError, match=text):
        sft(**{**HELD_OUT, **keywords})


@pytest.mark.parametrize("setting", [{"early_stopping_patience": 2}, {"eval_on_start": True}])
def test_evaluations_need_rows(setting: dict[str, Any], sft: Make) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(setting))}=.* needs held-out rows: give eval_dataset"):
        sft(**setting)


def test_early_stopping_of_what_generates_needs_a_metric(rl: Make) -> None:
    with pytest.raises(
        ConfigError, match='early_stopping_patience=2 needs metric_for_best_model="eval_reward"'
    ):
        rl("grpo", eval_dataset=[{"prompt": "a"}], early_stopping_patience=2)


def test_every_checkpoint_is_evaluated_where_the_best_is_loaded(sft: Make) -> None:
    config = sft(**BEST, max_steps=21, eval_steps=0.1, save_steps=0.5)
    with pytest.raises(ConfigError, match="not 11 and 3"):
        _resolved(config)
    run = _resolved(sft(**BEST, num_epochs=2, batch_size=10, evals_per_epoch=2, saves_per_epoch=1)).run
    assert (run.eval_steps, run.save_steps) == (5, 10)


def test_the_same_run_again_and_another_number_an_epoch(sft: Make) -> None:
    first = _resolved(sft(**HELD_OUT, num_epochs=2, batch_size=10, evals_per_epoch=2))
    manifest = {"config": {**plain(first), "data": {"dataset": ROWS, **HELD_OUT}}, "sources": first.sources}
    assert _resolved(load_config(manifest)).run.eval_steps == 5
    assert _resolved(load_config(manifest, overrides={"evals_per_epoch": 5})).run.eval_steps == 2
    assert _resolved(load_config(manifest, overrides={"batch_size": 5})).run.eval_steps == 10


def test_the_same_run_again_with_other_steps_has_the_same_share(sft: Make) -> None:
    first = _resolved(sft(**HELD_OUT, max_steps=40, eval_steps=0.25, save_steps=0.5))
    manifest = {"config": {**plain(first), "data": {"dataset": ROWS, **HELD_OUT}}, "sources": first.sources}
    again = _resolved(load_config(manifest)).run
    assert (again.eval_steps, again.save_steps) == (first.run.eval_steps, first.run.save_steps) == (10, 20)
    longer = _resolved(load_config(manifest, overrides={"max_steps": 80})).run
    assert (longer.eval_steps, longer.save_steps) == (20, 40)
    assert _resolved(load_config(manifest, overrides={"eval_steps": 7})).run.eval_steps == 7


def test_what_counts_and_what_does_not_is_noted(sft: Make, caplog: pytest.LogCaptureFixture) -> None:
    sft(**HELD_OUT, eval_steps=3, evals_per_epoch=2, hub_model_id="me/it")
    assert "eval_steps=3 and evals_per_epoch=2: the number an epoch counts" in caplog.text
    assert "hub_model_id='me/it' has no effect without push_to_hub=True" in caplog.text
    caplog.clear()
    sft(evals_per_epoch=2, save_only_model=True)
    assert "evals_per_epoch=2 has no effect without held-out rows" in caplog.text
    assert "no run can be resumed from checkpoints without the optimiser" in caplog.text


# --- the end of a schedule -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [
        ("cosine_with_min_lr", {"min_lr": 1e-6}),
        ("cosine_warmup_with_min_lr", {"min_lr": 1e-6}),
        ("polynomial", {"lr_end": 1e-6}),
        ("reduce_lr_on_plateau", {"min_lr": 1e-6}),
    ],
)
def test_the_end_becomes_the_schedules_own_setting(
    schedule: str, settings: dict[str, Any], sft: Make
) -> None:
    config = resolve(sft(**HELD_OUT, lr_scheduler=schedule, min_lr=1e-6), CPU)
    assert config.optim.lr_scheduler_kwargs == settings
    assert config.sources["optim.lr_scheduler_kwargs"] == "resolved: min_learning_rate=1e-06"


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"lr_scheduler": "cosine"}, 'has no end that can be set; take "cosine_with_min_lr"'),
        ({}, "lr_scheduler='linear' has no end that can be set; take \"polynomial\""),
        ({"lr_scheduler": "constant"}, "take cosine_with_min_lr, .* polynomial"),
        (
            {"lr_scheduler": "polynomial", "lr_scheduler_kwargs": {"power": 2.0}},
            "give one; in lr_scheduler_kwargs min_learning_rate is called lr_end",
        ),
        ({"lr_scheduler": "polynomial", "learning_rate": 1e-7}, "must be below learning_rate=1e-07"),
        (
            {"lr_scheduler": "constant", "min_learning_rate": None, "lr_scheduler_kwargs": {"power": 2}},
            "'constant' has no settings",
        ),
    ],
)
def test_an_end_that_the_schedule_has_not_is_refused(keywords: dict[str, Any], text: str, sft: Make) -> None:
    with pytest.raises(ConfigError, match=text):
        sft(**{"min_learning_rate": 1e-6, **keywords})


def test_another_schedule_of_the_same_run_has_the_end_under_its_own_name(sft: Make) -> None:
    first = _resolved(sft(dataset_name=ROWS, lr_scheduler="polynomial", min_learning_rate=1e-6))
    manifest = {"config": {**plain(first), "data": {"dataset": ROWS}}, "sources": first.sources}
    again = resolve(load_config(manifest), CPU)
    assert again.optim.lr_scheduler_kwargs == {"lr_end": 1e-6}
    other = resolve(load_config(manifest, overrides={"lr_scheduler": "cosine_with_min_lr"}), CPU)
    assert other.optim.lr_scheduler_kwargs == {"min_lr": 1e-6}


def test_a_decay_longer_than_the_run_is_refused(sft: Make) -> None:
    settings = {"lr_scheduler": "warmup_stable_decay", "warmup_steps": 3, "max_steps": 10}
    assert _resolved(sft(**settings, lr_scheduler_kwargs={"num_decay_steps": 7})).optim.max_steps == 10
    with pytest.raises(ConfigError, match="num_decay_steps=8 and warmup_steps=3 are more than the 10 steps"):
        _resolved(sft(**settings, lr_scheduler_kwargs={"num_decay_steps": 8}))
