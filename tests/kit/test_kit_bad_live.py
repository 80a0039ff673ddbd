"""Backends with one fault in how they train: each fails exactly the test that is meant for it.

All derive from the plain PyTorch backend. What it says of itself stays right in every case: a fault that ``effective``
does not show is what the live tier is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kit.conftest import Judged

pytestmark = [pytest.mark.backend, pytest.mark.slow]

# name -> (body of a class derived from the engine, the tests that fail)
FAULTS: dict[str, tuple[str, str]] = {
    "slow_schedule": (
        """
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.schedule.base_lrs = [lr / 2 for lr in self.schedule.base_lrs]
        """,
        "test_live_learning_rate[sft]",
    ),
    "no_weight_decay": (
        """
        def effective(self):
            effective = super().effective()
            for group in self.optimizer.param_groups:
                group["weight_decay"] = 0.0
            return effective
        """,
        "test_live_optimizer[sft]",
    ),
    "moves_the_base": (
        """
        def _after_step(self, metrics):
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    if not parameter.requires_grad and name.endswith("model.norm.weight"):
                        parameter.mul_(1 + 2.5e-7)
            return super()._after_step(metrics)
        """,
        "test_live_only_the_adapter_trains[sft]",
    ),
    "one_step_more": (
        """
        def effective(self):
            effective = super().effective()
            if self.adapted:
                self.loop = replace(self.loop, max_steps=self.loop.max_steps + 1)
            return effective
        """,
        "test_live_number_of_steps[sft]",
    ),
    "bigger_batches": (
        """
        def effective(self):
            effective = super().effective()
            if self.adapted:
                self.batches = replace(self.batches, size=2 * self.batches.size)
            return effective
        """,
        "test_live_samples_per_step[sft]",
    ),
    "rows_in_file_order": (
        """
        def effective(self):
            effective = super().effective()
            parent = self.batches
            class Unshuffled(type(parent)):
                def after(self, step):
                    for epoch, micro in parent.after(step):
                        start = 4 if len(micro) == 1 else 0
                        yield epoch, [[start + 2 * i, start + 2 * i + 1] for i in range(len(micro))]
            self.batches = Unshuffled(parent.rows, parent.size, parent.accumulation, parent.seed)
            return effective
        """,
        "test_live_order_of_samples[sft]",
    ),
    "one_token_more": (
        """
        def __init__(self, *arguments):
            super().__init__(*arguments)
            for row in self.rows:
                for sample in row:
                    for key, value in (("input_ids", 5), ("labels", 5), ("attention_mask", 1)):
                        sample[key] = [value, *sample[key]] if key != "labels" else [-100, *sample[key]]
        """,
        "test_live_tokens",
    ),
    "mean_of_means": (
        """
        def __init__(self, *arguments):
            super().__init__(*arguments)
            objective = self.objective
            def mean_of_means(batch, share):
                if not self.policy.training:
                    return objective(batch, share)
                own = int((batch["labels"][:, 1:] != -100).sum())
                loss, figures = objective(batch, replace(share, tokens=own))
                return loss / self.batches.accumulation, figures
            self.objective = mean_of_means
        """,
        "test_live_loss[sft]",
    ),
    "gradient_twice_as_long": (
        """
        def _update(self, batches):
            backward = self.accelerator.backward
            self.accelerator.backward = lambda loss: backward(2 * loss)
            try:
                return super()._update(batches)
            finally:
                self.accelerator.backward = backward
        """,
        "test_live_loss[sft]",
    ),
    "never_clips": (
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
    "terse_events": (
        """
        def _after_step(self, metrics):
            if self.adapted:
                del metrics["grad_norm"]
            return super()._after_step(metrics)
        """,
        "test_live_events[sft]",
    ),
    "adapter_too_small": (
        """
        def effective(self):
            effective = super().effective()
            if self.adapted:  # what was asked for, instead of where the adapter is
                effective["peft.target_modules"] = self.config.peft.target_modules
            return effective
        """,
        "test_live_adapter_shapes[sft]",
    ),
    "saves_it_untrained": (
        """
        def save(self, path, form):
            if form == "merged" or path != self.run.output_dir or not self.adapted:
                return super().save(path, form)
            kept = {n: p.detach().clone() for n, p in self.model.named_parameters() if "lora_B" in n}
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.mul_(0.0 if name in kept else 1.0)
                super().save(path, form)
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(kept.get(name, parameter))
        """,
        "test_live_saved_model_reloads[sft]",
    ),
    "merges_in_place": (
        """
        def save(self, path, form):
            if form == "merged":
                self.model.merge_and_unload(safe_merge=True).save_pretrained(path)
                with torch.no_grad():
                    self.model.get_input_embeddings().weight.mul_(1.01)
            else:
                super().save(path, form)
        """,
        "test_live_merged_model_reloads",
    ),
    "keeps_every_checkpoint": (
        """
        def effective(self):
            effective = super().effective()
            self.loop = replace(self.loop, save_total_limit=None)
            return effective
        """,
        "test_live_checkpoints",
    ),
    "evaluates_what_it_trains_on": (
        """
        def evaluate(self, rows=None):
            if rows is None:
                self.eval_rows = self.rows
            return super().evaluate(rows)
        """,
        "test_live_evaluate",
    ),
    "repeats_the_prompt": (
        """
        def generate(self, prompts, sampling):
            answers = super().generate(prompts, sampling)
            texts = [p if isinstance(p, str) else p[-1]["content"] for p in prompts]
            return [texts[i // sampling.n] + answer for i, answer in enumerate(answers)]
        """,
        "test_live_generate",
    ),
    "another_adapter_each_time": (
        """
        def effective(self):
            if self.adapted:
                generator = torch.Generator()
                generator.seed()
                with torch.no_grad():
                    for name, parameter in self.model.named_parameters():
                        if "lora_B" in name:  # so that the very first loss differs, by more than any rounding
                            parameter.add_(torch.randn(parameter.shape, generator=generator) / 10)
            return super().effective()
        """,
        "test_live_same_call_same_run",
    ),
    "does_not_stop": (
        """
        def __init__(self, loaded, config, datasets, run):
            super().__init__(loaded, config, datasets, replace(run, stop=lambda: None))
        """,
        "test_live_stop",
    ),
    "resumes_without_the_optimizer": (
        """
        def train(self, resume_from=None):
            fresh = self.optimizer.state_dict()
            if resume_from is not None:
                load = self.optimizer.load_state_dict
                self.optimizer.load_state_dict = lambda state: load(fresh)
            return super().train(resume_from)
        """,
        "test_live_resume",
    ),
    "silent_about_logging": (
        """
        def effective(self):
            effective = dict(super().effective())
            del effective["run.logging_steps"]
            return effective
        """,
        "test_live_fields",
    ),
    "beta_of_its_own": (
        """
        def effective(self):
            effective = super().effective()
            self.objective.beta = 0.1
            return effective
        """,
        "test_live_loss[dpo]",
    ),
}
SMALL_ADAPTER = """
@hookimpl
def apply_peft(loaded, config):
    from aligntune_torch import load
    targets = config.peft.target_modules
    if isinstance(targets, str) or not config.peft.enabled:
        return load.wrap(loaded, config)
    peft = config.peft.model_copy(update={"target_modules": targets[:1]})
    return load.wrap(loaded, config.model_copy(update={"peft": peft}))
"""


@pytest.fixture(scope="module")
def judged(judge_halves: Callable[..., Judged], torch_with: Callable[..., str]) -> Judged:
    small = {"adapter_too_small": SMALL_ADAPTER}
    return judge_halves(
        {
            name: torch_with(body, "dpo" if "dpo" in test else "sft") + small.get(name, "")
            for name, (body, test) in FAULTS.items()
        },
        "-k",
        "live or ready",
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_test_and_no_other(
    name: str, judged: Judged, failures: Callable[..., dict[str, str]]
) -> None:
    test, found = FAULTS[name][1], judged(name)
    failed = failures(found)
    assert {t.partition("[")[0] if "[" not in test else t for t in failed} == {test}, failed
