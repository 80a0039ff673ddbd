"""Faults that keep other tests from passing, that show in what is told only, and those of a backend without SFT.

As in ``test_kit_bad_live``, each fails exactly its test. What cannot pass beside it waits, and says for which test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kit.conftest import Judge, Judged, Outcomes

pytestmark = [pytest.mark.backend, pytest.mark.slow]

# name -> (body of a class derived from the torch backend's engine, the tests that fail)
# Faults that keep other tests from passing too: these have to wait.
FAULTS: dict[str, tuple[str, str]] = {
    "nan_at_the_end": (
        """
        def _after_step(self, metrics):
            if self.adapted and self.step >= 3:
                metrics["loss"] = float("nan")
            return super()._after_step(metrics)
        """,
        "test_live_trains[sft]",
    ),
    "stopped_by_nobody": (
        """
        def train(self, resume_from=None):
            result = super().train(resume_from)
            return replace(result, stopped=result.stopped or "finished")
        """,
        "test_live_trains",
    ),
    "returns_a_dict": (
        """
        def train(self, resume_from=None):
            return {"train_loss": super().train(resume_from).metrics["train_loss"]}
        """,
        "test_live_trains",
    ),
    "another_number_of_steps_told": (
        """
        def effective(self):
            return dict(super().effective()) | {"optim.max_steps": "3"}
        """,
        "test_live_trains",
    ),
    "tells_of_each_step_twice": (
        """
        def _log(self):
            unlogged = list(self.unlogged)
            super()._log()
            self.unlogged = unlogged
            super()._log()
        """,
        "test_live_number_of_steps",
    ),
    "logs_every_other_step": (
        """
        def effective(self):
            effective = super().effective()
            self.loop = replace(self.loop, logging_steps=2)
            return effective
        """,
        "test_live_number_of_steps",
    ),
    "saves_no_tokenizer": (
        """
        def save(self, path, form):
            from types import SimpleNamespace
            from aligntune_torch import load
            silent = SimpleNamespace(save_pretrained=lambda path: None)
            load.save(self.model, silent, path, form)
        """,
        "test_live_saved_model_reloads",
    ),
    "saves_pickles": (
        """
        def save(self, path, form):
            super().save(path, form)
            for file in path.glob("*.safetensors") if form != "merged" else ():
                file.rename(file.with_suffix(".bin"))
        """,
        "test_live_saved_model_reloads",
    ),
    "checkpoints_without_state": (
        """
        def _after_step(self, metrics):
            stopped = super()._after_step(metrics)
            for file in self.run.output_dir.glob("checkpoint-*/trainer_state.json"):
                file.unlink()
            return stopped
        """,
        "test_live_checkpoints",
    ),
}
WAITED_FOR = {*FAULTS, "dpo_that_does_not_stop", "saves_in_one_place_only"}
# What is told is not what happened.
FAULTS |= {
    "logs_every_step": (
        """
        def effective(self):
            effective = super().effective()
            self.loop = replace(self.loop, logging_steps=1)
            return effective
        """,
        "test_live_logging_steps",
    ),
    "saves_every_step": (
        """
        def effective(self):
            effective = super().effective()
            self.loop = replace(self.loop, save_steps=1)
            return effective
        """,
        "test_live_checkpoints",
    ),
    "no_epochs": (
        """
        def _log(self):
            epoch, self.epoch = self.epoch, 0.0
            super()._log()
            self.epoch = epoch
        """,
        "test_live_events[sft]",
    ),
    "half_an_epoch_behind": (
        """
        def _log(self):
            epoch, self.epoch = self.epoch, self.epoch / 2
            super()._log()
            self.epoch = epoch
        """,
        "test_live_events[sft]",
    ),
    "gradient_norm_of_nothing": (
        """
        def _after_step(self, metrics):
            return super()._after_step(metrics | {"grad_norm": 0.0})
        """,
        "test_live_events[sft]",
    ),
    "one_token_a_step": (
        """
        def _after_step(self, metrics):
            return super()._after_step(metrics | {"tokens": 1})
        """,
        "test_live_events[sft]",
    ),
    "evaluates_on_its_own_rows_only": (
        """
        def evaluate(self, rows=None):
            return super().evaluate(None)
        """,
        "test_live_evaluate",
    ),
    "saves_in_one_place_only": (
        """
        def save(self, path, form):
            own = form == "merged" or path.name.startswith("checkpoint-")
            super().save(path if own else self.run.output_dir, form)
        """,
        "test_live_saved_model_reloads",
    ),
}
FAULTS |= {
    "lacks_a_figure": (
        """
        def evaluate(self, rows=None):
            return {name: value for name, value in super().evaluate(rows).items() if "accuracy" not in name}
        """,
        "test_live_evaluate[sft]",
    ),
    "closes_once": (
        """
        def close(self):
            super().close()
            del self.accelerator
        """,
        "test_live_close[sft]",
    ),
}
# Trains DPO and nothing else: what other backends are asked with SFT, it is asked too.
FAULTS |= {
    "dpo_that_does_not_stop": (
        """
        def __init__(self, loaded, config, datasets, run):
            super().__init__(loaded, config, datasets, replace(run, stop=lambda: None))
        """,
        "test_live_stop",
    ),
    "dpo_that_resumes_from_the_start": (
        """
        def train(self, resume_from=None):
            return super().train(None)
        """,
        "test_live_resume",
    ),
    "dpo_that_keeps_every_checkpoint": (
        """
        def effective(self):
            effective = super().effective()
            self.loop = replace(self.loop, save_total_limit=None)
            return effective
        """,
        "test_live_checkpoints",
    ),
    "dpo_that_never_clips": (
        """
        def _update(self, batches):
            clip = self.accelerator.clip_grad_norm_
            self.accelerator.clip_grad_norm_ = lambda parameters, limit: clip(parameters, float("inf"))
            try:
                return super()._update(batches)
            finally:
                self.accelerator.clip_grad_norm_ = clip
        """,
        "test_live_gradient_clipping",
    ),
}

# One test tells these apart by what it says: name -> (body of the class, words of its message).
SAMPLING: dict[str, tuple[str, str]] = {
    "one_answer_a_prompt": (
        """
        def generate(self, prompts, sampling):
            return super().generate(prompts, sampling)[::sampling.n]
        """,
        "n answers a prompt",
    ),
    "deaf_to_the_seed": (
        """
        def generate(self, prompts, sampling):
            return super().generate(prompts, replace(sampling, seed=None))
        """,
        "the same seed draws other answers",
    ),
    "does_not_end_at_stop": (
        """
        def generate(self, prompts, sampling):
            return super().generate(prompts, replace(sampling, stop=()))
        """,
        "stop=",
    ),
}


@pytest.fixture(scope="module")
def judged(judge_halves: Callable[..., Judged], torch_with: Callable[..., str]) -> Judged:
    sources = {
        name: torch_with(body, "dpo" if name.startswith("dpo") else "sft")
        for name, (body, _) in FAULTS.items()
    }
    return judge_halves(sources, "-k", "live or ready")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_test_and_no_other(
    name: str, judged: Judged, failures: Callable[..., dict[str, str]]
) -> None:
    test, found = FAULTS[name][1], judged(name)
    failed = failures(found)
    assert {t.partition("[")[0] if "[" not in test else t for t in failed} == {test}, failed
    waits = {seen[1] for said in found.values() if (seen := re.search(r"waits for (\S+): \S", said))}
    assert waits <= failed.keys()
    assert bool(waits) == (name in WAITED_FOR), waits


@pytest.fixture(scope="module")
def sampled(judge: Judge, torch_with: Callable[..., str]) -> Outcomes:
    """What they do but sampling is the torch backend's, so they train one run only."""
    sources = {name: torch_with(body) for name, (body, _) in SAMPLING.items()}
    return judge(sources, "-k", "live_trains and sft or live_generate or live_sampling")


@pytest.mark.parametrize("name", SAMPLING)
def test_a_fault_in_sampling_is_told(
    name: str, sampled: Outcomes, failures: Callable[..., dict[str, str]]
) -> None:
    failed = failures(sampled[name])
    assert list(failed) == ["test_live_sampling[sft]"]
    assert SAMPLING[name][1] in failed["test_live_sampling[sft]"]


def test_a_selection_without_the_run_that_fails_shows_the_exception(
    judge: Judge, torch_with: Callable[..., str], failures: Callable[..., dict[str, str]]
) -> None:
    source = torch_with(FAULTS["nan_at_the_end"][0])
    found = judge({"alone": source}, "-k", "live_optimizer or same_call")["alone"]
    failed = failures(found)
    assert failed.keys() == {"test_live_optimizer[sft]", "test_live_same_call_same_run[sft]"}
    assert all("step 3: loss is nan" in said for said in failed.values())
