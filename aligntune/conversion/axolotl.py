"""Axolotl's YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligntune.conversion import datasets
from aligntune.conversion.draft import MISSING, Draft
from aligntune.conversion.peer import Peer, chat_template, continues_adapter, expects, nothing, share_of_rows
from aligntune.conversion.source import Source
from aligntune_core.config import keywords as kw
from aligntune_core.wording import listed

# Its algorithms that are settings of one of ours.
_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ipo": ("dpo", {"loss_type": "ipo"}),
    "gdpo": ("grpo", {"multi_objective_aggregation": "normalize_then_sum"}),
}
LOSSES: dict[str, dict[str, Any]] = {"grpo": {"loss_type": "dapo"}}
"""The loss that TRL, which trains them there, takes where none is named and ours is another."""

_PLAIN_TEXT = frozenset({"completion", "pretrain"})
# Formats whose rows are read here too, by their columns; the text around them is the chat template's.
_TEMPLATED = frozenset({"chat_template", "sharegpt", "passthrough"})
_PROMPTED = frozenset(
    {
        "alpaca",
        "alpaca_chat",
        "alpaca_instruct",
        "alpaca_w_system",
        "chatml",
        "llama3",
        "llama2_chat",
        "zephyr",
        "gpteacher",
        "oasst",
        "orcamini",
        "pygmalion",
        "metharme",
        "input_output",
        "context_qa",
        "jeopardy",
        "explainchoice",
        "bradley_terry",
    }
)
_OF_DATASET = {"path": "name", "split": "split", "name": "config_name"}
_FIELDS = {
    "field_messages": "messages",
    "field_chosen": "chosen",
    "field_rejected": "rejected",
    "field_system": "system",
    "field_instruction": "prompt",
    "field_prompt": "prompt",
    "field_input": "input",
    "field_output": "completion",
    "field_completion": "completion",
    "field_label": "label",
}
# What its data sets say, and what happens here anyway.
_USUAL = frozenset({"type", "ds_type", "data_files", "field", "roles", "trust_remote_code", "conversation"})
_READ = frozenset(
    {*_USUAL, *_OF_DATASET, *_FIELDS, "message_property_mappings", "message_field_role", "message_field_content",
     "roles_to_train", "text_column"}
)  # fmt: skip
_MESSAGE_KEYS = ("role", "content", "from", "value")
_USUAL_VALUES = {"train_on_eos": ("turn",), "train_on_eot": ("turn",), "revision": ("main",)}
_REPLIES = (["assistant"], ["gpt"], ["assistant", "gpt"], ["gpt", "assistant"])
FAMILY = "liger_"
"""How keys begin that are read together when all others have been."""


def _algorithm(source: Source) -> str:
    if source.values.get("reward_model"):
        return "reward"
    name = str(source.values.get("rl") or "sft").lower()
    return _VARIANTS[name][0] if name in _VARIANTS else name


def _rl(draft: Draft, key: str, value: Any) -> None:
    for keyword, setting in _VARIANTS.get(str(value).lower(), ("", {}))[1].items():
        draft.put(keyword, setting, key)


@expects(str, list, dict)
def data_sets(draft: Draft, key: str, value: Any) -> None:
    """A list of data sets, each with its path."""
    entries = value if isinstance(value, list) else [value]
    datasets.put(draft, key, [_entry(draft, key, n, entry) for n, entry in enumerate(entries) if entry])


@expects(list)
def _test_datasets(draft: Draft, key: str, value: Any) -> None:
    entries = [_entry(draft, key, n, entry) for n, entry in enumerate(value or [])]
    if not entries:
        return
    draft.put("eval_dataset", entries[0]["name"], key)
    draft.put("eval_split", entries[0].get("split", "train"), key)
    if len(entries) > 1:
        names = listed(entry["name"] for entry in entries[1:])
        draft.leave_out(key, value, f"{key}: held-out rows are one data set; {names} is left out")


def _entry(draft: Draft, key: str, number: int, about: Any) -> dict[str, Any]:
    if not isinstance(about, Mapping):
        return {"name": str(about)}
    entry = {ours: about[theirs] for theirs, ours in _OF_DATASET.items() if about.get(theirs)}
    files = about.get("data_files")
    if files:
        first, *more = [files] if isinstance(files, str) else list(files)
        entry["name"] = first
        if more:
            draft.leave_out(
                key, more, f"{key}[{number}]: {listed(more)} is left out; a folder holds several files"
            )
    entry.setdefault("name", MISSING["dataset_name"])
    kind = about.get("type")
    word = kind.partition(".")[0] if isinstance(kind, str) else ""
    if word in _PLAIN_TEXT:
        entry["text_column"] = about.get("field") or about.get("text_column") or "text"
    elif isinstance(kind, Mapping):
        _own_prompt(draft, key, number, kind)
        about = {**about, **kind}
    elif word in _PROMPTED:
        why = f"{key}[{number}].type={kind} writes prompts of its own; here rows go through the chat template"
        draft.remark(key, kind, f"{why}: aligntune plan shows a row")
    elif word and word not in _TEMPLATED:
        why = f"{key}[{number}].type={kind} is code that makes rows: map it over the data set beforehand"
        draft.leave_out(key, kind, why)
    mapped = datasets.mapping({role: about[f] for f, role in _FIELDS.items() if about.get(f)})
    if mapped:
        entry["column_mapping"] = mapped
    _left_of(draft, key, number, about)
    return entry


def _own_prompt(draft: Draft, key: str, number: int, kind: Mapping[str, Any]) -> None:
    """A format that is spelt out; ours is the chat template."""
    if texts := [name for name in kind if "format" in name]:
        draft.leave_out(
            key, dict(kind), f"{key}[{number}].type: {listed(texts)}: rows go through the chat template; chat_template"
            " replaces it, or map your function over the rows beforehand"
        )  # fmt: skip


def _left_of(draft: Draft, key: str, number: int, about: Mapping[str, Any]) -> None:
    """What else a data set says."""
    mappings = about.get("message_property_mappings") or {}
    renamed = {ours: theirs for ours, theirs in mappings.items() if theirs not in _MESSAGE_KEYS}
    fields = {k: about.get(k) for k in ("message_field_role", "message_field_content")}
    renamed |= {k: name for k, name in fields.items() if name not in (None, *_MESSAGE_KEYS)}
    if renamed:
        draft.leave_out(
            key, renamed, f"{key}[{number}]: keys of messages are role and content: rename {listed(renamed)}"
        )
    if about.get("roles_to_train") not in (None, *_REPLIES):
        roles = about["roles_to_train"]
        why = "loss is on the assistant's replies; completion_only_loss=False puts it on all of a row"
        draft.leave_out(key, roles, f"{key}[{number}].roles_to_train: {why}")
    for name, value in about.items():
        usual = name in _READ or "format" in name or value in _USUAL_VALUES.get(name, ())
        if not usual and value not in (None, False, "", [], {}):
            why = f"{key}[{number}].{name} has no counterpart; aligntune plan shows what is learnt"
            draft.leave_out(key, value, why)


@expects(str, list, dict)
def _pretraining(draft: Draft, key: str, value: Any) -> None:
    entries = value if isinstance(value, list) else [value]
    if not value:
        return
    first = entries[0] if isinstance(entries[0], Mapping) else {"path": entries[0]}
    entry = _entry(draft, key, 0, {"type": "completion", **first})
    entry["text_column"] = first.get("text_column") or first.get("field") or "text"
    datasets.put(draft, key, [entry])
    draft.put("streaming", True, key)


@expects(dict)
def _nested(draft: Draft, key: str, value: Any) -> None:
    """The section of online algorithms, whose keys are keywords of ours."""
    for name, setting in (value or {}).items():
        draft.take(f"{key}.{name}", setting, name)


def _schedule(draft: Draft, key: str, value: Any) -> None:
    if "lr_scheduler" not in draft.settings:  # the end of a cosine may have named it
        draft.take(key, value)


@expects(int, float)
def _min_ratio(draft: Draft, key: str, value: Any) -> None:
    """The rate that a cosine ends at, as a share of its peak."""
    rate = draft.value("learning_rate")
    if (
        value
        and rate
        and "min_learning_rate" in kw.flat()
        and draft.value("lr_scheduler") in (None, "cosine")
    ):
        draft.settings["lr_scheduler"], draft.origins["lr_scheduler"] = "cosine_with_min_lr", key
        draft.put("min_learning_rate", float(rate) * float(value), key)
    elif value:
        draft.take(key, value)


@expects(dict)
def _special_tokens(draft: Draft, key: str, value: Any) -> None:
    """Each token by itself, so that one that is not offered takes no other along."""
    for name, token in (value or {}).items():
        if token:
            draft.take(f"{key}.{name}", token, name)


@expects(int)
def _batch_size(draft: Draft, key: str, value: Any) -> None:
    """Rows of an optimiser step, where the accumulation follows from it."""
    micro = draft.value("micro_batch_size") or 1
    if value and not draft.value("gradient_accumulation_steps") and value % micro == 0:
        draft.put("gradient_accumulation_steps", value // micro, key)
    elif value:
        draft.leave_out(key, value, f"{key}: micro_batch_size and gradient_accumulation_steps say it")


def _adapter(draft: Draft, key: str, value: Any) -> None:
    draft.take(key, value or "full")


def _template(draft: Draft, key: str, value: Any) -> None:
    if value != "jinja" and not str(value).startswith("tokenizer_default"):
        chat_template(draft, key, value)


@expects(list)
def _plugins(draft: Draft, key: str, value: Any) -> None:
    for plugin in value or []:
        if "liger" in str(plugin).lower():
            draft.put("use_liger_kernel", True, key)
        else:
            draft.leave_out(key, plugin, f"{key}: {plugin} is a plugin of Axolotl alone")


def _automatic(draft: Draft, key: str, value: Any) -> None:
    """Classes that transformers chooses itself."""
    if (
        value
        and not str(value).startswith("Auto")
        and not str(value).endswith(("ForCausalLM", "Tokenizer", "TokenizerFast"))
    ):
        draft.take(key, value)


def _defaults(draft: Draft) -> Mapping[str, Any]:
    return {
        "use_peft": False,
        "num_epochs": 1.0,
        "batch_size": 1,
        "max_seq_length": 512,
        "lr_scheduler": "cosine",
        **({} if "warmup_steps" in draft.settings else {"warmup_ratio": 0.03}),
        **LOSSES.get(draft.algorithm.name, {}),
    }


def _finish(draft: Draft) -> None:
    """Keys that come in families."""
    for key, value in draft.source.values.items():
        if key.startswith(FAMILY) and value:
            draft.put("use_liger_kernel", True, key)


PEER = Peer(
    title="Axolotl",
    telling=frozenset(
        {
            "base_model",
            "sequence_len",
            "micro_batch_size",
            "adapter",
            "sample_packing",
            "val_set_size",
            "lora_target_linear",
            "dataset_prepared_path",
            "rl",
            "special_tokens",
            "pad_to_sequence_len",
            "wandb_project",
            "saves_per_epoch",
        }
    ),
    algorithm=_algorithm,
    by_hand={
        "rl": _rl,
        "reward_model": nothing,
        "datasets": data_sets,
        "test_datasets": _test_datasets,
        "pretraining_dataset": _pretraining,
        "trl": _nested,
        "special_tokens": _special_tokens,
        "lr_scheduler": _schedule,
        "cosine_min_lr_ratio": _min_ratio,
        "batch_size": _batch_size,
        "adapter": _adapter,
        "chat_template": _template,
        "val_set_size": share_of_rows,
        "lora_model_dir": continues_adapter,
        "plugins": _plugins,
        **dict.fromkeys(("model_type", "type_of_model", "tokenizer_type"), _automatic),
    },
    needless={
        "dataset_prepared_path": "rows are prepared when a run starts",
        "strict": "an unknown keyword is an error anyway",
        "pad_to_sequence_len": "batches are padded to their longest row, which changes no loss",
        "eval_sample_packing": "held-out rows are packed where training rows are",
        "include_tokens_per_second": "metrics.jsonl has tokens per second",
        "include_tkps": "metrics.jsonl has tokens per second",
        **dict.fromkeys(
            (
                "is_falcon_derived_model",
                "is_llama_derived_model",
                "is_mistral_derived_model",
                "is_qwen_derived_model",
            ),
            "the model says itself what it is",
        ),
    },
    defaults=_defaults,
    finish=_finish,
)
