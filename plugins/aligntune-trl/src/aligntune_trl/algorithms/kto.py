"""Kahneman-Tversky optimisation with TRL's KTOTrainer, against the policy as it was loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aligntune_trl.algorithms.recipe import NO_ROUTER_LOSS, Counts, Figure, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aligntune_core import Datasets, LoadedModel, Prepared, RunContext
    from aligntune_trl.engine import TrlEngine

BLOCK = 1000
"""Preference rows that TRL takes at a time when it splits them."""


def counts(inputs: Mapping[str, Any]) -> dict[str, int]:
    """Rows of a micro-batch; figures of one side are by the rows, or the tokens, of that label."""
    desirable = inputs["label"].bool()
    tokens = inputs["completion_mask"][:, 1:].sum(1)
    rows, chosen = len(desirable), int(desirable.sum())
    sides = {"chosen": (chosen, desirable), "rejected": (rows - chosen, ~desirable)}
    return {
        "": rows,
        "entropy": int(tokens.sum()),
        **{
            f"{figure}/{side}": number
            for side, (number, _) in sides.items()
            for figure in ("rewards", "logps")
        },
        **{f"logits/{side}": int(tokens[which].sum()) for side, (_, which) in sides.items()},
    }


KTO = Recipe(
    name="kto",
    arguments="trl:KTOConfig",
    trainer="trl:KTOTrainer",
    fixed={
        **NO_ROUTER_LOSS,
        # Each row's KL is estimated with its neighbour's completion, which was chosen beforehand.
        "train_sampling_strategy": "sequential",
    },
    figures={
        "kl": Figure("kl"),
        "reward_desirable": Figure("rewards/chosen"),
        "reward_undesirable": Figure("rewards/rejected"),
        "reward_margin": Figure("rewards/margins"),
    },
    native_figures=(
        "kl",
        *(f"{figure}/{side}" for figure in ("rewards", "logps", "logits") for side in ("chosen", "rejected")),
        "rewards/margins",
    ),
    counts=Counts(counts, differences={"rewards/margins": ("rewards/chosen", "rewards/rejected")}),
    build="aligntune_trl.algorithms.kto:build",
)


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> TrlEngine:
    """Build the trainer on rows in the order in which TRL would have them."""
    from aligntune_trl import table, trainer

    split = datasets.report is not None and datasets.report.format.endswith("split in two")
    if split and hasattr(datasets.train, "select"):
        held_out = datasets.eval and as_split(datasets.eval)
        datasets = replace(datasets, train=as_split(datasets.train), eval=held_out)
    args = table.training_arguments(config, prepared)
    return trainer.build(KTO, args, loaded, config, datasets, run)


def as_split(rows: Any) -> Any:
    """Rows of which each chosen one is followed by its rejected one, as TRL lays them out when it splits pairs itself.

    It puts the chosen sides of 1,000 pairs before their rejected ones: neighbours then have different prompts, which
    the estimate of the KL wants.
    """
    order: list[int] = []
    for start in range(0, len(rows), 2 * BLOCK):
        block = range(start, min(start + 2 * BLOCK, len(rows)))
        order += [*block[::2], *block[1::2]]
    return rows.select(order)
