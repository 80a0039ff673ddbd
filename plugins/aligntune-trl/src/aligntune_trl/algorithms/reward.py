"""Reward models: a classifier with one output, trained with TRL's RewardTrainer on pairs of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core import Datasets, LoadedModel, Prepared, RunContext, Sampling
from aligntune_core.errors import ConfigError, RunError
from aligntune_core.run.seeding import seed_everything
from aligntune_core.wording import listed
from aligntune_trl import prepare
from aligntune_trl.engine import TrlEngine
from aligntune_trl.model import adapter
from aligntune_trl.quiet import known_warnings_hidden, no_bars

HEADS = ("classifier", "score")
"""What peft trains whole beside an adapter of a classifier: its head, by the names that it knows."""


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> RewardEngine:
    """Build the trainer."""
    from trl import RewardTrainer

    args = prepare.training_arguments(config, prepared.device)
    with known_warnings_hidden(), no_bars(), adapter.float32_kept(loaded.model):
        trainer = RewardTrainer(
            model=loaded.model,
            args=args,
            train_dataset=datasets.train,
            eval_dataset=datasets.eval,
            processing_class=loaded.tokenizer,
            callbacks=list(config.run.callbacks),
        )
    return RewardEngine(trainer, loaded, config, datasets, run)


class RewardEngine(TrlEngine):
    """The engine of a classifier."""

    def _adapter(self) -> dict[str, Any]:
        """As the base, without the head that peft adds by itself to what is trained whole."""
        values = super()._adapter()
        modules, asked = values.get("peft.modules_to_save"), self._config.peft.modules_to_save
        if modules is not None:
            values["peft.modules_to_save"] = [
                m for m in modules if m not in HEADS or m in (asked or ())
            ] or None
        return values

    def generate(self, prompts: Sequence[Any], sampling: Sampling) -> list[str]:
        """Refused.

        Raises:
            RunError: a reward model writes no text.
        """
        raise RunError(
            "generate: a reward model scores texts and writes none; aligntune_core.rewards.RewardModel(folder) scores"
        )


# --- weights ----------------------------------------------------------------------------------------------------------


def load_classifier(name: str, seed: int, given: Mapping[str, Any]) -> Any:
    """A model with one output; of a language model the body, with a fresh head drawn from ``seed``.

    Args:
        name: hub id or folder.
        seed: of the head.
        given: arguments of ``from_pretrained``.
    """
    from transformers import AutoModelForSequenceClassification
    from trl.trainer.reward_trainer import suppress_seqcls_warning

    seed_everything(seed)
    with suppress_seqcls_warning():
        return AutoModelForSequenceClassification.from_pretrained(name, num_labels=1, **given)


def with_adapter(model: Any, folder: str, hub: Mapping[str, Any]) -> Any:
    """``model`` with the adapter in ``folder``, trainable: a reward model's, or a language model's with a fresh head.

    Raises:
        ConfigError: the adapter holds weights that a classifier has no place for.
    """
    from peft import (
        PeftConfig,
        PeftModel,
        TaskType,
        get_peft_model,
        get_peft_model_state_dict,
        load_peft_weights,
        set_peft_model_state_dict,
    )

    settings = PeftConfig.from_pretrained(folder, **hub)
    if settings.task_type == TaskType.SEQ_CLS:
        return PeftModel.from_pretrained(model, folder, is_trainable=True, **hub)
    settings.task_type, settings.inference_mode = TaskType.SEQ_CLS, False
    settings.init_lora_weights = True  # overwritten below; PiSSA and the like would change the base
    adapted = get_peft_model(model, settings)
    state, saved = get_peft_model_state_dict(adapted), load_peft_weights(folder, device="cpu", **hub)
    strange = sorted(set(saved) - set(state))
    if strange:
        raise ConfigError(
            f"model_name: the adapter {folder} holds {listed(strange[:3])}, for which a reward model has no place. "
            "Train the reward model on another adapter, or on the model itself"
        )
    set_peft_model_state_dict(adapted, {**state, **saved})
    return adapted
