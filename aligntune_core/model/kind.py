"""Judge from a model's configuration what it can be trained as, and how long its rows may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aligntune_core.errors import ConfigError

if TYPE_CHECKING:
    from aligntune_core.config import Config
    from aligntune_core.types import DataReport

# Classes of checkpoints that were trained to fill gaps, with attention to both sides.
_ENCODERS = ("ForMaskedLM", "ForPreTraining")


def language_model_problems(
    model_config: Any, architectures: Sequence[str], in_memory: bool = False
) -> list[str]:
    """Why a checkpoint is no causal language model, at most one problem; models with code of their own are not judged.

    Args:
        model_config: transformers' configuration of it.
        architectures: names of the classes that it is stored for, or of its class in memory.
        in_memory: whether it is a model object, to which no head will be added.
    """
    from transformers.models.auto import modeling_auto as auto

    if getattr(model_config, "auto_map", None):
        return []
    kind = model_config.model_type
    needs = "a causal language model is needed"
    if any("SequenceClassification" in name for name in architectures):
        return [f"model_name: this is a classifier (a reward model?), which writes no text; {needs}"]
    if model_config.is_encoder_decoder:
        return [f"model_name: {kind} has an encoder and a decoder; {needs}"]
    if type(model_config) not in auto.MODEL_FOR_CAUSAL_LM_MAPPING:
        if senses := _senses(model_config):
            return [
                f"model_name: {kind} is a model of {senses} and texts, which transformers does not load as a language "
                f"model; {needs}. Give the model of texts that it was made of, or its text part, saved by itself"
            ]
        return [f"model_name: transformers has no language model head for {kind}; {needs}"]
    fills_gaps = any(name.endswith(_ENCODERS) for name in architectures)
    if fills_gaps and not getattr(model_config, "is_decoder", False):
        return [f"model_name: this {kind} is an encoder, whose tokens see those that follow; {needs}"]
    tied = getattr(model_config.get_text_config(), "tie_word_embeddings", False)
    if _is_bare(model_config, architectures) and (in_memory or not tied):  # tied embeddings are the head
        return [
            f"model_name: this {kind} comes without its language model head, which would start from random numbers; "
            "give the checkpoint that it was taken from"
        ]
    return []


def classifier_problems(model_config: Any) -> list[str]:
    """Why no reward model can be made of a checkpoint; at most one problem."""
    from transformers.models.auto import modeling_auto as auto

    classifiers = auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if getattr(model_config, "auto_map", None) or type(model_config) in classifiers:
        return []
    kind = model_config.model_type
    return [f"model_name: transformers has no sequence classifier for {kind}, which a reward model is"]


def text_part_remark(model_config: Any, model: Any) -> str:
    """A sentence where only the text part of a multimodal checkpoint is loaded; else empty.

    Args:
        model_config: transformers' configuration of the checkpoint.
        model: what is made of it, with weights or without.
    """
    if type(model.config) is type(model_config):
        return ""
    return (
        f"model_name: of this {model_config.model_type}, a model of {_senses(model_config) or 'several parts'} and "
        f"texts, the text part alone ({type(model).__name__}) is loaded, trained and saved"
    )


def _senses(model_config: Any) -> str:
    """What a multimodal model takes beside texts, after the parts of its configuration; empty for others."""
    parts = [
        name
        for name in getattr(model_config, "sub_configs", {})
        if getattr(model_config, name, None) is not None
    ]
    senses = {"pictures": ("vision", "image", "vit", "qformer"), "sound": ("audio", "speech")}
    return " and ".join(s for s, words in senses.items() if any(w in part for part in parts for w in words))


def _is_bare(model_config: Any, architectures: Sequence[str]) -> bool:
    """Whether the checkpoint is of the model without any head."""
    from transformers.models.auto import modeling_auto as auto

    bare = auto.MODEL_MAPPING_NAMES.get(model_config.model_type, ())
    names = (bare,) if isinstance(bare, str) else bare
    names = [
        name for name in names if not name.endswith("ForConditionalGeneration")
    ]  # of llama4 it is the whole
    return bool(architectures) and all(name in names for name in architectures)


def check_positions(model: Any, config: Config, report: DataReport | None) -> None:
    """Refuse rows longer than a model's table of learned positions: training would end in an index error there.

    Args:
        model: the loaded policy, with or without adapter.
        config: resolved; rows are cut at ``max_seq_length``, and completions come after prompts.
        report: of the training rows; None, or no tokens counted: nothing is known.

    Raises:
        ConfigError: names the number of positions.
    """
    from aligntune_core.algorithms import find

    places = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if report is None or not report.max_tokens or places is None or not _learned_positions(model, places):
        return
    limit = config.data.max_seq_length
    completion = getattr(config.parameters, "max_completion_length", 0) or 0
    online = find(config.algorithm).generates
    longest = report.max_tokens + completion if online else min(report.max_tokens, limit or report.max_tokens)
    if longest > places:
        generated = f" with max_completion_length={completion}" if online else ""
        instead = "Lower it, or drop long prompts" if online else f"Set max_seq_length={places} to cut them"
        raise ConfigError(
            f"this {model.config.model_type} has places for {places} tokens, and the longest row takes {longest}"
            f"{generated}. {instead}, or take a model of more positions"
        )


def _learned_positions(model: Any, places: int) -> bool:
    """Whether positions are looked up in a table, which for some models has two rows more."""
    from torch import nn

    tokens = model.get_input_embeddings()
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and m is not tokens]
    return any(places <= table.num_embeddings <= places + 2 for table in tables)
