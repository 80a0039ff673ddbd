"""LLaMA-Factory's YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aligntune.conversion import datasets
from aligntune.conversion.draft import Draft
from aligntune.conversion.peer import Peer, chat_template, continues_adapter, expects, nothing, share_of_rows
from aligntune.conversion.source import Source
from aligntune_core.errors import ConfigError
from aligntune_core.wording import listed

INFO = "dataset_info.json"

# Its stages -> algorithms of ours; the others are called alike. Pre-training is on plain text.
_STAGES = {"pt": "sft", "rm": "reward"}
_PLAIN_TEXT = frozenset({"pt"})
_OTHER_LOSSES = frozenset({"orpo", "simpo"})

# Its names of columns -> our roles.
_ROLES = {
    "prompt": "prompt",
    "query": "input",
    "response": "completion",
    "system": "system",
    "messages": "messages",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "label",
}
_GENERATION = {"max_completion_length": 1024, "temperature": 0.95, "top_p": 0.7, "top_k": 50}
_TAGS = {"role_tag": ("from", "role"), "content_tag": ("value", "content")}


def _algorithm(source: Source) -> str:
    stage = str(source.values.get("stage") or "sft").lower()
    loss = str(source.values.get("pref_loss") or "").lower()
    if loss in _OTHER_LOSSES:
        raise ConfigError(
            f'pref_loss: {loss} is an algorithm of its own, which is not offered; "dpo" has the losses of loss_type',
            where=source.where("pref_loss"),
        )
    return _STAGES.get(stage, stage)


def _is_plain_text(draft: Draft) -> bool:
    return draft.value("stage") in _PLAIN_TEXT


@expects(str, list)
def _dataset(draft: Draft, key: str, value: Any) -> None:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value or [])
    entries = [entry for entry in (_entry(draft, key, str(name)) for name in names) if entry]
    shares = draft.value("interleave_probs")
    if shares and len(entries) > 1:
        weights = [float(s) for s in (shares.split(",") if isinstance(shares, str) else shares)]
        entries = [{**entry, datasets.WEIGHT: w} for entry, w in zip(entries, weights, strict=False)]
    datasets.put(draft, key, entries)


@expects(str, list)
def _eval_dataset(draft: Draft, key: str, value: Any) -> None:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value or [])
    if not names:
        return
    entry = _entry(draft, key, str(names[0])) or {}
    draft.put("eval_dataset", entry.get("name", names[0]), key)
    if entry.get("split", "train") != "train":
        draft.put("eval_split", entry["split"], key)
    elif entry:
        draft.put("eval_split", "train", key)
    if len(names) > 1:
        draft.leave_out(key, value, f"{key}: held-out rows are one data set; {listed(names[1:])} is left out")


def _entry(draft: Draft, key: str, name: str) -> dict[str, Any] | None:
    """The data set of a name of dataset_info.json; without that file, the name itself."""
    folder, info = _info(draft)
    if name not in info:
        if "/" not in name and not Path(name).exists():
            where = (
                f"has no such name in {folder / INFO}" if info else f"is a name of {INFO}, which is not there"
            )
            draft.leave_out(key, name, f'{key}: "{name}" {where}: write a hub id, a file or a folder instead')
        return {"name": name}
    about = info[name]
    entry: dict[str, Any] = {}
    if hub := about.get("hf_hub_url"):
        entry["name"] = hub
    elif file := about.get("file_name"):
        entry["name"] = str(folder / file)
    else:
        draft.leave_out(
            key, name, f'{key}: "{name}" is on no Hugging Face hub: download it, and write its file'
        )
        return {"name": name}
    entry |= {ours: about[theirs] for theirs, ours in _OF_INFO.items() if about.get(theirs)}
    return {**entry, **_columns(draft, key, name, about)}


_OF_INFO = {"subset": "config_name", "split": "split", "num_samples": "max_samples"}


def _columns(draft: Draft, key: str, name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, str] = about.get("columns") or {}
    if _is_plain_text(draft):
        return {"text_column": columns.get("prompt", "instruction")}
    for tag, usual in _TAGS.items():
        written = (about.get("tags") or {}).get(tag)
        if written and written not in usual:
            draft.leave_out(
                key, name, f'{key}: messages of "{name}" have {written} ({tag}): rename it to {usual[1]}'
            )
    unread = [c for c, column in columns.items() if c not in _ROLES and column != c]
    if unread:
        draft.leave_out(
            key, name, f'{key}: columns of "{name}" for {listed(unread)} are not mapped: name them so'
        )
    mapped = datasets.mapping({_ROLES[c]: column for c, column in columns.items() if c in _ROLES})
    return {"column_mapping": mapped} if mapped else {}


def _info(draft: Draft) -> tuple[Path, Mapping[str, Any]]:
    """The folder of its list of data sets, looked for from here and from the file, and the list."""
    written = Path(str(draft.value("dataset_dir") or "data"))
    for folder in (written, draft.source.path.parent / written):
        if (folder / INFO).is_file():
            try:
                info = json.loads((folder / INFO).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigError(f"cannot be read: {error}", where=str(folder / INFO)) from error
            return folder, info
    return written, {}


def _generation_only(draft: Draft, key: str, value: Any) -> None:
    if value:
        draft.leave_out(
            key, value, f"{key} is a setting of generation there: trainer.generate takes max_new_tokens"
        )


def _create_new_adapter(draft: Draft, key: str, value: Any) -> None:
    if value and draft.value("adapter_name_or_path"):
        draft.put("merge_adapter", True, key)


def _defaults(draft: Draft) -> Mapping[str, Any]:
    adapter = {} if draft.settings.get("use_peft") is False else {"lora_r": 8}
    rank = draft.settings.get("lora_r", 8)
    if adapter:
        adapter["lora_alpha"] = 2 * rank
    return {
        **adapter,
        "learning_rate": 5e-5,
        "num_epochs": 3.0,
        "max_seq_length": 2048,
        **({"packing": True} if _is_plain_text(draft) else {}),
        **(_GENERATION if draft.algorithm.generates else {}),
    }


PEER = Peer(
    title="LLaMA-Factory",
    telling=frozenset(
        {
            "stage",
            "finetuning_type",
            "cutoff_len",
            "dataset_dir",
            "template",
            "val_size",
            "pref_loss",
            "pref_beta",
            "lora_target",
            "quantization_bit",
            "adapter_name_or_path",
            "preprocessing_num_workers",
            "plot_loss",
        }
    ),
    algorithm=_algorithm,
    by_hand={
        **dict.fromkeys(("stage", "dataset_dir", "interleave_probs", "mix_strategy"), nothing),
        "dataset": _dataset,
        "eval_dataset": _eval_dataset,
        "template": chat_template,
        "val_size": share_of_rows,
        "max_length": _generation_only,
        "adapter_name_or_path": continues_adapter,
        "create_new_adapter": _create_new_adapter,
    },
    needless={
        "plot_loss": "metrics.jsonl has the loss of every logged step",
        "overwrite_cache": "prepared rows are made anew whenever rows or settings change",
        "overwrite_output_dir": "an earlier run in the folder is moved to earlier-run/N",
        "preprocessing_batch_size": "rows are prepared as they are read",
        "ddp_timeout": "processes wait for each other long enough",
        "print_param_status": "aligntune plan shows what is trained",
        "use_fast_tokenizer": "the tokenizer is the fast one where there is one",
        "tool_format": "tool calls are rendered as the chat template has them",
    },
    defaults=_defaults,
)
