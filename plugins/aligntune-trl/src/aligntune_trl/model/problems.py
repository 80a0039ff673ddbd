"""What a model's configuration, files and adapter rule out, read before any weights load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aligntune_core.toolkit import (
    classifier_problems,
    find_algorithm,
    keyword_of,
    language_model_problems,
    listed,
    named,
    same,
    target_problems,
    value_at,
    weight_format_problems,
    weights_problem,
    written,
)
from aligntune_trl.model.reward_head import scores
from aligntune_trl.model.source import Source, continued
from aligntune_trl.problems import QUANTISED_MERGE, quantised_biases
from aligntune_trl.state import State
from aligntune_trl.table import TABLE


def problems(config: Any, state: State, device: str) -> list[str]:
    """One sentence for each.

    Args:
        config: resolved configuration.
        state: what ``model_name`` is.
        device: kind of the device that the run is on.
    """
    source = state.source
    sentences = [*_head(config, source), *_weights(config, source), *_files(source)]
    if not source.in_memory:
        sentences += weight_format_problems(source.model_config, device)
    if continued(config, source):
        sentences += _differences(config, source.adapter_config or {})
    elif config.peft.enabled:
        sentences += [*_adapter(config, source), *_layers(config, source)]
        if not sentences and (model := state.skeleton(config)) is not None:
            sentences += target_problems(model, config.peft)
    return sentences


def _head(config: Any, source: Source) -> list[str]:
    """A classifier where a language model is needed, or the other way round."""
    if not scores(config):
        if source.outputs is None:
            return language_model_problems(source.model_config, source.architectures, source.in_memory)
        return [
            f"model_name: this is a classifier (a reward model?), which writes no text; {config.algorithm} trains a "
            "language model. A reward model goes into reward_model_name"
        ]
    if source.outputs not in (None, 1):
        return [
            f"model_name: this classifier has {source.outputs} outputs; a reward model has 1. Give the language model "
            "that it was made from"
        ]
    if source.in_memory and source.outputs is None:
        return [
            "model_name: a language model in memory has no head that scores; pass its path, or a model of "
            "AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)"
        ]
    return [] if source.in_memory else classifier_problems(source.model_config)


def _weights(config: Any, source: Source) -> Iterator[str]:
    """What weights that are stored quantised, or an adapter as model, are not fit for."""
    peft = config.peft
    if source.quantised and config.model.quantization is not None:
        yield "quantization: the checkpoint is stored quantised already; leave quantization out"
    elif source.quantised:
        if not peft.enabled:
            yield "use_peft=False: quantised weights cannot be fine-tuned in full; leave use_peft out for LoRA"
        if peft.merge_adapter:
            yield QUANTISED_MERGE
        if (
            peft.enabled
            and peft.bias != "none"
            and find_algorithm(config.algorithm).compares(config.parameters)
        ):
            yield quantised_biases(config)
    if peft.merge_adapter and source.adapter_config is None:
        yield "merge_adapter: model_name is no adapter; leave merge_adapter out"
    if source.adapter_config is not None and not peft.enabled and not peft.merge_adapter:
        yield (
            "use_peft=False: model_name is an adapter; set merge_adapter=True to merge it and fine-tune the whole, "
            "or leave use_peft out to continue the adapter"
        )


def _files(source: Source) -> list[str]:
    """Weights on disk that are cut off or lack a part: reading their headers costs milliseconds."""
    folders = [str(p) for p in (source.base, source.adapter) if isinstance(p, str) and Path(p).is_dir()]
    wrong = [(folder, weights_problem(Path(folder))) for folder in folders]
    return [
        f"model_name: {folder}: {why}. Download or copy it again" for folder, why in wrong if why is not None
    ]


# --- the adapter -----------------------------------------------------------------------------------------------------


def _adapter(config: Any, source: Source) -> Iterator[str]:
    """Settings of a fresh adapter that do not go together, or not with these weights."""
    peft, quantization = config.peft, config.model.quantization
    if peft.init == "pissa" and (source.quantised or quantization is not None):
        yield 'lora_init="pissa" splits the weights themselves and needs them unquantised; take "loftq"'
    if peft.init == "pissa" and peft.use_dora:
        yield 'lora_init="pissa" with use_dora cannot be saved as an adapter of the original model; take one'
    if peft.init == "loftq" and (quantization is None or not quantization.load_in_4bit):
        yield (
            'lora_init="loftq" corrects the error of 4-bit weights: set quantization={"load_in_4bit": True} with an '
            "unquantised checkpoint"
        )
    if peft.init == "loftq" and peft.use_dora:
        yield 'lora_init="loftq" with use_dora: the two initialise the same matrices; take one'
    if not isinstance(peft.target_modules, str) and "lm_head" in (peft.target_modules or ()):
        yield (
            "lora_target_modules: TRL reads lm_head's weight directly and would not train an adapter on it; "
            "leave it out, or name it in modules_to_save"
        )


def _differences(config: Any, adapter: Mapping[str, Any]) -> Iterator[str]:
    """Adapter settings that were given and differ from those of the adapter that is continued."""
    arguments = {argument.path: argument for argument in TABLE if argument.part == "lora"}
    for path in sorted(arguments.keys() & written(config)):
        ours, theirs = value_at(config, path), arguments[path].read(adapter)
        if path == "peft.target_modules" and ours == "all-linear":
            continue  # adapters store the names that it stood for
        if not same(path, ours, theirs):
            doubled = path == "peft.r" and theirs == 2 * ours
            twice = " (PiSSA is saved as plain LoRA of twice the rank)" if doubled else ""
            yield (
                f"{keyword_of(path)}: asked for {ours!r}, but the adapter that model_name names has {theirs!r}{twice}. "
                "Leave it out to continue that adapter, or set merge_adapter=True to merge it and start a new one"
            )


# --- layers and modules that an adapter is asked for ----------------------------------------------------------------


def _layers(config: Any, source: Source) -> list[str]:
    layers, model_config = config.peft.layers_to_transform, source.model_config
    text = model_config.get_text_config() if hasattr(model_config, "get_text_config") else model_config
    number = getattr(text, "num_hidden_layers", None)
    if not layers or number is None:
        return []
    beyond = [layer for layer in layers if not 0 <= layer < number]
    if not beyond:
        return []
    return [
        f"{named('peft.layers_to_transform')}: there is no layer {listed(beyond)}; this model has {number}: 0 to "
        f"{number - 1}"
    ]
