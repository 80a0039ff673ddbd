"""Direct preference optimisation with TRL's DPOTrainer, against the policy as it was loaded."""

from __future__ import annotations

import copy
from typing import Any

from aligntune_core import Datasets, LoadedModel, Prepared, RunContext
from aligntune_trl import prepare
from aligntune_trl.engine import TrlEngine
from aligntune_trl.model import adapter
from aligntune_trl.quiet import known_warnings_hidden, no_bars


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> TrlEngine:
    """Build the trainer.

    The reference is, at no cost, the policy with its fresh adapter switched off; where that is another model than the
    policy at its start, a frozen copy: of the adapter, or of the whole model.
    """
    from trl import DPOTrainer

    args = prepare.training_arguments(config, prepared.device)
    reference = loaded.roles.get("reference") or frozen_policy(loaded.model)
    with (
        known_warnings_hidden(),
        no_bars(),
        adapter.float32_kept(loaded.model),
        adapter.copied_as_it_is(loaded.model),
    ):
        trainer = DPOTrainer(
            model=loaded.model,
            ref_model=reference,
            args=args,
            train_dataset=datasets.train,
            eval_dataset=datasets.eval,
            processing_class=loaded.tokenizer,
            callbacks=list(config.run.callbacks),
        )
    adapter.drop_needless_reference(trainer.model)
    return TrlEngine(trainer, loaded, config, datasets, run)


def frozen_policy(model: Any) -> Any:
    """A frozen copy of the whole policy where no adapter can stand for it, else None.

    TRL would reload a full model from its hub id or path, which is not the policy where it came trained or in memory;
    and biases that train beside an adapter cannot be switched off with it.
    """
    adapted = adapter.is_adapted(model)
    if adapted and model.peft_config[adapter.NAME].bias == "none":
        return None
    reference = copy.deepcopy(model)
    if adapted:
        reference = reference.merge_and_unload(adapter_names=[adapter.NAME])
    return reference.requires_grad_(False).eval()
