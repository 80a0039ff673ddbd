"""Keywords of other libraries that say in another way what a field of ours says, and those that are not offered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aligntune_core.algorithms import Algorithm
from aligntune_core.wording import did_you_mean

Settings = list[tuple[str, Any]]


@dataclass(frozen=True)
class Context:
    """What a translation may look at: the algorithm, and a keyword's value anywhere in the call, or None."""

    algorithm: Algorithm
    peek: Callable[[str], Any]


class Refused(ValueError):
    """A keyword that cannot be translated; the text ends the sentence "NAME=VALUE ..."."""


def _switch(path: str, on: Any) -> Callable[[Any, Context], Settings]:
    """A boolean that stands for one value of ``path``; False asks for nothing."""

    def translate(value: Any, _: Context) -> Settings:
        if not isinstance(value, bool):
            raise Refused("must be true or false")
        return [(path, on)] if value else []

    return translate


def _use_vllm(value: Any, context: Context) -> Settings:
    settings = _switch("parameters.generation", "vllm")(value, context)
    if "generation" not in context.algorithm.parameters.model_fields:
        raise Refused(f"is not offered for {context.algorithm.name}; the GRPO family has it")
    return settings


def _column(role: str) -> Callable[[Any, Context], Settings]:
    def translate(value: Any, _: Context) -> Settings:
        return [("data.column_mapping", {value: role})] if value else []

    return translate


def _use_unsloth(value: Any, context: Context) -> Settings:
    backend = str(context.peek("backend") or "auto")
    if bool(value) == (backend == "unsloth") or (not value and backend != "unsloth"):
        return []
    raise Refused('is decided by backend: write backend="unsloth", or another, and leave this out')


def _task_type(value: Any, context: Context) -> Settings:
    task = str(value).lower()
    algorithm = context.algorithm
    own = {algorithm.name, algorithm.kind, *algorithm.aliases}
    if algorithm.supervised:
        own |= {"instruction_following", "instruction_tuning", "text_generation", "chat", "causal_lm"}
        if context.peek("text_column"):
            own |= {"pretraining", "language_modeling"}
        elif task in ("pretraining", "language_modeling"):
            raise Refused("needs text_column, the column of plain text to train on")
    elif algorithm.generates and algorithm.updates_per_epoch:
        own.add("grpo")
    if task in own:
        return []
    raise Refused(f"is not offered: {algorithm.name} trains a language model on whole answers")


def _lora_variant(value: Any, _: Context) -> Settings:
    variants: dict[str, Settings] = {
        "standard": [],
        "lora": [],
        "rslora": [("peft.use_rslora", True)],
        "dora": [("peft.use_dora", True)],
        "pissa": [("peft.init", "pissa")],
        "loftq": [("peft.init", "loftq")],
        "gaussian": [("peft.init", "gaussian")],
    }
    variant = str(value).lower()
    if variant in variants:
        return variants[variant]
    raise Refused(f"is not offered.{did_you_mean(variant, variants)} Known: {', '.join(variants)}")


_ROLES = ("prompt", "instruction", "input", "response", "chosen", "rejected")

# name -> what it means. None, False and "none" are let pass before these are asked.
TRANSLATED: dict[str, Callable[[Any, Context], Settings]] = {
    "bf16": _switch("model.precision", "bf16"),
    "fp16": _switch("model.precision", "fp16"),
    "fp32": _switch("model.precision", "fp32"),
    "loftq_init": _switch("peft.init", "loftq"),
    "pissa_init": _switch("peft.init", "pissa"),
    "use_flash_attention_2": _switch("model.attn_implementation", "flash_attention_2"),
    "lora_variant": _lora_variant,
    "use_unsloth": _use_unsloth,
    "use_vllm": _use_vllm,
    "task_type": _task_type,
    "auto_detect_fields": lambda _, __: [],  # columns are recognised anyway
    **{
        f"{role}_column": _column(role)
        for role in ("prompt", "instruction", "input", "response", "chosen", "rejected")
    },
}

# use_unsloth=False beside backend="unsloth" says two things, so its False is asked too.
FALSE_SAYS_SOMETHING = frozenset({"use_unsloth"})

_ROPE = "rope is as the model has it; take a model with the context length you need"
_SHIFTED = "attention is over whole rows; packing and flash_attention_2 make long ones cheap"
_VOCABULARY = "grow the vocabulary of model and tokenizer first, and save both; modules_to_save trains them"
_REWARD = 'train the reward model in a run of its own: algorithm="reward", then reward_model_name=ITS_FOLDER'
_DTYPE = 'write precision="bf16", "fp16" or "fp32"'
_SIZE = 'name the rows: split="train[:90%]", eval_split="train[90%:]"'
_VLLM = 'for the GRPO family write generation="vllm", with arguments of TRL in vllm_options'
_CLIPS = "the GSPO paper has no such parameter; its clips are epsilon and epsilon_high"
_FUNCTION = "map your function over the dataset and hand over the result as dataset_name"

# name -> why not, and what to write instead.
NOT_OFFERED: dict[str, str] = {
    **dict.fromkeys(("rope_type", "rope_factor", "rope_target_max_seq_length", "rope_beta_fast", "rope_beta_slow",
                     "rope_original_max_position_embeddings", "rope_attention_factor", "rope_scaling"), _ROPE),
    **dict.fromkeys(("s2_group_size_ratio", "s2_shift_ratio", "s2_min_seq_length"), _SHIFTED),
    "sliding_window": "it is part of the model's own configuration",
    **dict.fromkeys(("embedding_init_method", "train_embeddings"), _VOCABULARY),
    **dict.fromkeys(("train_custom_reward_model", "reward_training_texts", "reward_training_base_model",
                     "reward_training_output_dir"), _REWARD),
    "reward_model_quantization": "reward models run in the precision of the run",
    "reward_device": "reward models run on the device of the policy",
    **dict.fromkeys(("vllm_mode", "fast_inference"), _VLLM),
    **dict.fromkeys(("gspo_gamma", "gspo_delta"), _CLIPS),
    "reference_free": "the policy is held to a reference; beta says how strongly",
    **dict.fromkeys(("processing_fn", "formatting_func"), _FUNCTION),
    **dict.fromkeys(("dtype", "torch_dtype"), _DTYPE),
    **dict.fromkeys(("val_split", "validation_split", "val_size", "test_size", "eval_size"), _SIZE),
    "percent": 'write it into the split: split="train[:10%]"',
    **dict.fromkeys(("num_labels", "label_column"), "language models are trained, no classifiers"),
    **dict.fromkeys(("tokens_column", "tags_column"), "language models are trained, no taggers"),
    "peft_config": "give its values as use_peft, lora_r, lora_alpha, lora_target_modules, ...",
    "args": "give its values as keywords of this call",
    **dict.fromkeys(("deepspeed", "fsdp"), "whole copies train in parallel: start the script with torchrun"),
    "max_workers": "dataset_num_proc and dataloader_num_workers set the number of processes",
}  # fmt: skip

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention")
ATTENTION_NOT_OFFERED = {"s2": _SHIFTED, "swa": "sliding windows are part of the model's own configuration"}


def attention_problem(name: str) -> str | None:
    """What is wrong with the name of an attention kernel; names registered with transformers pass."""
    if name in ATTENTION_NOT_OFFERED:
        return f"is not offered: {ATTENTION_NOT_OFFERED[name]}"
    if name in ATTENTION or "/" in name or "|" in name:
        return None
    hint = did_you_mean(name, ATTENTION)
    return f"is unknown.{hint}" if hint else None
