"""From a recipe to TRL's built trainer behind our engine."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from aligntune_core import Datasets, LoadedModel, Prepared, RunContext
from aligntune_core.toolkit import find_algorithm
from aligntune_trl import table
from aligntune_trl.algorithms.recipe import Recipe, find, imported
from aligntune_trl.engine import TrlEngine
from aligntune_trl.model import adapter
from aligntune_trl.quiet import known_warnings_hidden, no_bars


def built(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> TrlEngine:
    """The engine of a run, as its algorithm's recipe says."""
    recipe = find(config.algorithm)
    assert recipe is not None, f"no recipe of {config.algorithm}"
    if recipe.build:
        engine: TrlEngine = imported(recipe.build)(loaded, config, datasets, prepared, run)
        return engine
    return build(recipe, table.training_arguments(config, prepared), loaded, config, datasets, run)


def build(
    recipe: Recipe, args: Any, loaded: LoadedModel, config: Any, datasets: Datasets, run: RunContext
) -> TrlEngine:
    """Build the recipe's trainer on these arguments.

    A reference, where the algorithm compares, is at no cost the policy with its fresh adapter switched off; where that
    is another model than the policy at its start, a frozen copy: of the adapter, or of the whole model.
    """
    model, reference = loaded.model, {}
    compares = find_algorithm(config.algorithm).compares(config.parameters)
    if compares:
        reference["ref_model"] = loaded.roles.get("reference") or adapter.frozen_policy(model)
    copied = adapter.copied_as_it_is(model) if compares else nullcontext()
    with known_warnings_hidden(), no_bars(), adapter.float32_kept(model), copied:
        trainer = imported(recipe.trainer)(
            model=model,
            args=args,
            train_dataset=datasets.train,
            eval_dataset=datasets.eval,
            processing_class=loaded.tokenizer,
            callbacks=list(config.run.callbacks),
            **reference,
        )
    adapter.drop_needless_reference(trainer.model)
    return TrlEngine(trainer, loaded, config, datasets, run)
