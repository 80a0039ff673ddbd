"""TRL's own ORPO trainer, with every argument from aligntune's table and read back from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trl.experimental.orpo import ORPOConfig

from aligntune_core import Datasets, LoadedModel, Prepared, RunContext
from aligntune_core.errors import ConfigError
from aligntune_orpo.evaluation import EvaluatingTrainer
from aligntune_trl import table
from aligntune_trl.engine import TrlEngine
from aligntune_trl.model import adapter
from aligntune_trl.quiet import known_warnings_hidden, no_bars


@dataclass
class Arguments(ORPOConfig):
    """TRL's arguments, and one that the table has beside them: this trainer cuts a long answer at its end."""

    truncation_mode: str = "keep_start"


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> TrlEngine:
    """Build the trainer.

    Raises:
        ConfigError: a long row should lose its beginning, which this trainer cannot do.
    """
    if config.data.truncation_mode != "keep_start":
        raise ConfigError("truncation_mode: TRL's ORPO trainer cuts the end of an answer only; leave it out")
    on_cpu = prepared.device.kind == "cpu"
    args = Arguments(
        **table.write(config, "args"),
        **dict(config.parameters),
        output_dir=str(config.run.output_dir),
        seed=config.run.seed,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        logging_strategy="steps",
        disable_tqdm=True,
    )
    with known_warnings_hidden(), no_bars(), adapter.float32_kept(loaded.model):
        trainer = EvaluatingTrainer(
            model=loaded.model,
            args=args,
            train_dataset=datasets.train,
            eval_dataset=datasets.eval,
            processing_class=loaded.tokenizer,
            callbacks=list(config.run.callbacks),
        )
    return TrlEngine(trainer, loaded, config, datasets, run)
