"""From a configuration to a run of the GRPO family: rewards, reference, samples, engine."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from aligntune_core import Datasets, LoadedModel, Prepared, RunContext
from aligntune_trl import table
from aligntune_trl.algorithms.grpo.trainer import GroupTrainer
from aligntune_trl.model import adapter
from aligntune_trl.online import rewards_bridge
from aligntune_trl.online.engine import OnlineEngine
from aligntune_trl.online.samples import Samples
from aligntune_trl.quiet import known_warnings_hidden, no_bars


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> OnlineEngine:
    """Build the trainer: rewards first, then the policy with its reference where there is a KL."""
    args = table.training_arguments(config, prepared)
    rewards = rewards_bridge.build(config, loaded.tokenizer, args.device, datasets.report)
    with no_bars():
        rewards.load()
    parameters = config.parameters
    samples = Samples(
        run.output_dir if parameters.log_completions else None,
        parameters.log_completions_steps,
        parameters.equal_rewards_alarm,
        parameters.num_generations,
    )
    with ExitStack() as stack:
        for context in (
            known_warnings_hidden(),
            no_bars(),
            adapter.float32_kept(loaded.model),
            adapter.copied_as_it_is(loaded.model),
            _reference_is_the_policy(loaded.model, bool(parameters.beta)),
        ):
            stack.enter_context(context)
        trainer = GroupTrainer(
            model=loaded.model,
            args=args,
            rewards=rewards,
            samples=samples,
            train_dataset=datasets.train,
            eval_dataset=datasets.eval,
            processing_class=loaded.tokenizer,
            callbacks=list(config.run.callbacks),
        )
    adapter.drop_needless_reference(trainer.model)
    trainer.remember_reference()
    return OnlineEngine(trainer, loaded, config, datasets, run)


@contextmanager
def _reference_is_the_policy(model: Any, needed: bool) -> Iterator[None]:
    """While TRL builds its trainer, the reference that it loads is a frozen copy of the policy.

    TRL would read it from the path that the policy's configuration names, which is not the policy where that came
    trained or in memory. Adapters need none of this: they are switched off, or copied by TRL.
    """
    if not needed or adapter.is_adapted(model):
        yield
        return
    from trl.trainer import grpo_trainer

    theirs = grpo_trainer.create_model_from_path
    grpo_trainer.create_model_from_path = lambda *_, **__: copy.deepcopy(model).requires_grad_(False).eval()
    try:
        yield
    finally:
        grpo_trainer.create_model_from_path = theirs
