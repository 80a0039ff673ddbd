"""Supervised fine-tuning with TRL's SFTTrainer: it applies the chat template, masks prompts and packs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aligntune_core.toolkit import Argument
from aligntune_trl.algorithms.recipe import NO_ROUTER_LOSS, Counts, Figure, Recipe, imported, tokens_of

if TYPE_CHECKING:
    from aligntune_core import Datasets, LoadedModel, Prepared, RunContext
    from aligntune_trl.engine import TrlEngine

ARGUMENTS = "trl:SFTConfig"


def _loss(name: str) -> Any:
    """TRL's default is "nll" in the least memory that the version has: "chunked_nll" before 1.15."""
    return imported(ARGUMENTS).__dataclass_fields__["loss_type"].default if name == "nll" else name


def _loss_name(loss: Any) -> Any:
    return "nll" if loss in (None, "chunked_nll") else loss


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # exp(710) is beyond a float


def counts(inputs: Mapping[str, Any]) -> dict[str, int]:
    """Trained tokens of a micro-batch; labels that come shifted already have no first token to leave out."""
    shifted = inputs.get("shift_labels")
    return {"": tokens_of(inputs["labels"]) if shifted is None else int((shifted != -100).sum())}


def problems(config: Any) -> Iterator[str]:
    """TRL cuts no rows in batches without padding, unless they are packed."""
    if config.data.padding_free and not config.data.packing:
        yield (
            "padding_free without packing would not enforce max_seq_length in TRL; packing=True is padding-free too"
        )


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> TrlEngine:
    """Build the trainer."""
    from aligntune_trl import table, trainer
    from aligntune_trl.model import router

    args = table.training_arguments(config, prepared)
    with router.settings_kept(loaded.model):
        return trainer.build(SFT, args, loaded, config, datasets, run)


SFT = Recipe(
    name="sft",
    arguments=ARGUMENTS,
    trainer="trl:SFTTrainer",
    fixed={**NO_ROUTER_LOSS, "assistant_only_loss": False, "eval_packing": None, "shuffle_dataset": False},
    own=(Argument("parameters.loss_type", "args", "loss_type", _loss, _loss_name),),
    figures={
        "token_accuracy": Figure("mean_token_accuracy"),
        "perplexity": Figure("loss", _perplexity),  # grows with the loss: the same best
    },
    native_figures=("mean_token_accuracy",),
    counts=Counts(counts),
    problems=problems,
    build="aligntune_trl.algorithms.sft:build",
)
