"""Supervised fine-tuning with TRL's SFTTrainer."""

from __future__ import annotations

from typing import Any

from aligntune_core import Datasets, LoadedModel, Prepared, RunContext
from aligntune_trl import prepare
from aligntune_trl.engine import TrlEngine
from aligntune_trl.model import adapter, router
from aligntune_trl.quiet import known_warnings_hidden, no_bars


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> TrlEngine:
    """Build the trainer. TRL applies the chat template, masks prompts and packs."""
    from trl import SFTTrainer

    args = prepare.training_arguments(config, prepared.device)
    # Whole conversations with the loss on each reply, where the chat template marks the assistant's tokens.
    args.assistant_only_loss = datasets.report is not None and datasets.report.loss == "assistant"
    model = loaded.model
    with known_warnings_hidden(), no_bars(), adapter.float32_kept(model), router.settings_kept(model):
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=datasets.train,
            eval_dataset=datasets.eval,
            processing_class=loaded.tokenizer,
            callbacks=list(config.run.callbacks),
        )
    return TrlEngine(trainer, loaded, config, datasets, run)
