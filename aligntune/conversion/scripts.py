"""The arguments of a script of TRL (SFTConfig, DPOConfig, ...) as JSON, and the YAML of TRL's own command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aligntune.conversion.axolotl import LOSSES, data_sets
from aligntune.conversion.draft import Draft
from aligntune.conversion.peer import Peer, expects, nothing, share_of_rows
from aligntune.conversion.source import Source
from aligntune_core.algorithms import known
from aligntune_core.config import keywords as kw

_CLASS = re.compile(r"^(?P<name>\w+?)(?:Config|Trainer)$")
_OF_ARGUMENTS = frozenset({"args", "training_args", "training_arguments", "trainingarguments", "config"})
_OF_ADAPTER = frozenset({"peft_config", "lora_config", "loraconfig"})
_OF_WEIGHTS = frozenset({"quantization_config", "bnb_config", "bitsandbytesconfig"})
_OF_SCRIPT = frozenset({"modelconfig", "scriptarguments", "model_args", "script_args", "model_config"})
_HIDDEN = re.compile(r"<[A-Z_]+>")
_NAMES_CLASS = ("config_class", "class", "trainer", "trainer_class", "_class")

# Stands for a section of the adapter, whose own defaults are peft's.
_HAS_ADAPTER = "peft_config"

# Names of LoraConfig that mean something else in a call of ours.
_ADAPTER = {"r": "lora_r", "bias": "lora_bias", "alpha": "lora_alpha", "revision": "base_model_name_or_path"}
# Rates of its configurations that ours, for an adapter or for all weights, differ from.
_RATES = {"sft": 2e-5, "dpo": 1e-6, "kto": 1e-6, "grpo": 1e-6, "reward": 1e-4}


def flattened(source: Source) -> Source:
    """The file with its sections joined: arguments, adapter, quantisation, model and script."""
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for section, name, value in _keys(source.values):
        values[name] = value
        key = f"{section}.{name}" if section else name
        if section and _plain(section) in _OF_ADAPTER:
            key = f"{section}.{ {ours: theirs for theirs, ours in _ADAPTER.items()}.get(name, name) }"
        if key in source.lines:
            lines[name] = source.lines[key]
    if named := _class_of(source):
        values.setdefault(_NAMES_CLASS[0], named)
    return Source(source.path, values, lines)


def _class_of(source: Source) -> str | None:
    """What the class of the arguments is called, without "Config" or "Trainer"; None where none is named."""
    named = [source.values[key] for key in _NAMES_CLASS if isinstance(source.values.get(key), str)]
    for word in [*named, *source.values]:
        match = _CLASS.match(word)
        if match and _plain(word) not in _OF_ADAPTER | _OF_WEIGHTS | _OF_SCRIPT:
            return match["name"]
    return None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _keys(values: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Section, name and value of every setting."""
    for name, value in values.items():
        word = _plain(name)
        if not isinstance(value, Mapping):
            yield "", name, value
        elif word in _OF_WEIGHTS:
            yield "", "quantization_config", value
        elif word in _OF_ADAPTER:
            yield name, "use_peft", True
            yield "", _HAS_ADAPTER, True
            yield from (
                (name, _ADAPTER.get(str(inner), str(inner)), setting) for inner, setting in value.items()
            )
        elif word in _OF_ARGUMENTS or word in _OF_SCRIPT or _CLASS.match(name):
            yield from ((name, inner, setting) for inner, setting in value.items())
        else:
            yield "", name, value


def algorithm(source: Source) -> str:
    """The algorithm that the file or a class names; else the one that most of the arguments are parameters of."""
    if isinstance(name := source.values.get("algorithm"), str):
        return name
    if named := _class_of(source):
        return named
    flat = flattened(source).values
    arguments = {name for name, value in flat.items() if value is not None} - set(kw.flat())
    counts = {a.name: len(arguments & set(kw.parameter_names(a.parameters))) for a in known().values()}
    return max(counts, key=counts.__getitem__)


def _length(draft: Draft, key: str, value: Any) -> None:
    if value is None:
        limit = draft.settings.get("max_seq_length", 1024)
        draft.leave_out(
            key, value, f"{key}=None: rows are cut at max_seq_length, which is {limit}: give a number"
        )
    else:
        draft.take(key, value)


def _text_column(draft: Draft, key: str, value: Any) -> None:
    """TRL's own default, text, is what is looked for here too where rows are no conversations."""
    if value != "text":
        draft.take(key, value)


def _warmup(draft: Draft, key: str, value: Any) -> None:
    if value:
        draft.take(key, value)


@expects(dict)
def _accelerator(draft: Draft, key: str, value: Any) -> None:
    """Its own defaults ask for nothing; transformers writes them out."""
    usual = {
        "even_batches": True,
        "use_seedable_sampler": True,
        "non_blocking": False,
        "split_batches": False,
    }
    others = {
        k: v
        for k, v in (value or {}).items()
        if v not in (None, usual.get(k)) and k != "use_configured_state"
    }
    if others:
        draft.take(key, others)


@expects(int)
def _generation_batch(draft: Draft, key: str, value: Any) -> None:
    """Completions drawn at a time, which is given here by the micro-batches that they are."""
    size = draft.value("per_device_train_batch_size") or 8
    if not value or draft.value("steps_per_generation"):
        return
    if value % size:
        draft.take(key, value)
    else:
        draft.put("steps_per_generation", value // size, key)


def _token(draft: Draft, key: str, value: Any) -> None:
    """transformers writes <EOS_TOKEN> for what is secret, or not set."""
    if value is not None and not _HIDDEN.fullmatch(str(value)):
        draft.take(key, value)


def _test_split(draft: Draft, key: str, value: Any) -> None:
    if draft.value("eval_strategy") not in (None, "no"):
        draft.take(key, value)


def _target_modules(draft: Draft, key: str, value: Any) -> None:
    if value is not None:
        draft.take(key, value)


def _defaults(draft: Draft) -> Mapping[str, Any]:
    defaults: dict[str, Any] = {}
    if draft.value(_HAS_ADAPTER):
        defaults |= {"lora_r": 8, "lora_alpha": 8}
    elif draft.settings.get("use_peft"):
        defaults["lora_dropout"] = 0.05  # of the configuration that TRL's own command makes
    elif not any(draft.settings.get(keyword) for keyword in ("load_in_4bit", "load_in_8bit")):
        defaults["use_peft"] = False
    name = draft.algorithm.name
    if name in _RATES:
        defaults["learning_rate"] = _RATES[name]
    defaults |= LOSSES.get(name, {})
    if "max_steps" not in draft.settings:
        defaults["num_epochs"] = 3.0
    return defaults


def _finish(draft: Draft) -> None:
    name = draft.algorithm.name
    if draft.algorithm.supervised and "completion_only_loss" not in draft.settings:
        draft.remark(
            "assistant_only_loss", None, "TRL puts the loss on every token of conversations unless assistant_only_loss "
            "is true; here it is on replies: completion_only_loss=false does as TRL does"
        )  # fmt: skip
    if not any(key in draft.source.values for key in ("algorithm", *_NAMES_CLASS)):
        draft.remark(
            "algorithm", name, f"algorithm={name}: by its arguments; add algorithm=NAME if it is another"
        )
    if draft.settings.get("use_peft") and "lora_target_modules" not in draft.settings:
        draft.remark(
            "target_modules", None, "target_modules is not given: peft takes a few by the architecture, q_proj and "
            "v_proj mostly; here it is all linear layers unless lora_target_modules says so"
        )  # fmt: skip
    elif not draft.settings.get("use_peft") and "use_peft" not in draft.source.values:
        draft.remark(
            "use_peft", None, "use_peft is not given: without a peft_config TRL trains every weight; remove "
            "use_peft: false if your script hands over a peft_config"
        )  # fmt: skip


PEER = Peer(
    title="TRL",
    telling=frozenset(),
    algorithm=algorithm,
    by_hand={
        **dict.fromkeys(("algorithm", _HAS_ADAPTER, *_NAMES_CLASS), nothing),
        "datasets": data_sets,
        "test_split_size": share_of_rows,
        "max_length": _length,
        "dataset_text_field": _text_column,
        "warmup_steps": _warmup,
        "dataset_test_split": _test_split,
        "accelerator_config": _accelerator,
        "generation_batch_size": _generation_batch,
        **dict.fromkeys(("eos_token", "pad_token", "hub_token", "push_to_hub_token"), _token),
        "target_modules": _target_modules,
        "lora_target_modules": _target_modules,
    },
    needless={
        **dict.fromkeys(
            ("log_level", "log_level_replica", "disable_tqdm", "logging_dir"),
            "log lines go to run.log, metrics to metrics.jsonl",
        ),
        "ddp_timeout": "processes wait for each other long enough",
    },
    defaults=_defaults,
    finish=_finish,
)
