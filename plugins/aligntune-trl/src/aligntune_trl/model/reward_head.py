"""The head of a reward model: drawn on a language model's body, and an adapter that trains beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligntune_core.toolkit import ConfigError, find_algorithm, listed, seed_everything

HEADS = ("classifier", "score")
"""What peft trains whole beside an adapter of a classifier: its head, by the names that it knows."""


def scores(config: Any) -> bool:
    """Whether what is trained gives a text one number in place of writing on."""
    return find_algorithm(config.algorithm).head == "score"


def own_modules(values: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """What is trained whole beside the adapter, without the head that peft adds by itself."""
    modules, configured = values.get("peft.modules_to_save"), config.peft.modules_to_save or ()
    if modules is None:
        return {}
    return {"peft.modules_to_save": [m for m in modules if m not in HEADS or m in configured] or None}


def load_classifier(name: str, seed: int, arguments: Mapping[str, Any]) -> Any:
    """A model with one output; of a language model the body, with a fresh head drawn from ``seed``.

    Args:
        name: hub id or folder.
        seed: of the head.
        arguments: of ``from_pretrained``.
    """
    from transformers import AutoModelForSequenceClassification
    from trl.trainer.reward_trainer import suppress_seqcls_warning

    seed_everything(seed)
    with suppress_seqcls_warning():
        return AutoModelForSequenceClassification.from_pretrained(name, num_labels=1, **arguments)


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
