"""Keywords of aligntune itself before 1.0, and words that many libraries share."""

from __future__ import annotations

from typing import Any

from aligntune_core.config.read.translate import (
    Context,
    Refused,
    Settings,
    Translation,
    choice,
    column,
    parameter,
    same,
    share,
    switch,
)
from aligntune_core.wording import did_you_mean


def _use_vllm(value: Any, context: Context) -> Settings:
    settings = switch("parameters.generation", "vllm")(value, context)
    if "generation" not in context.algorithm.parameters.model_fields:
        raise Refused(f"is not offered for {context.algorithm.name}; the GRPO family has it")
    return settings


def _use_unsloth(value: Any, context: Context) -> Settings:
    backend = str(context.peek("backend") or "auto")
    if bool(value) == (backend == "unsloth") or (not value and backend != "unsloth"):
        return []
    raise Refused('is decided by backend: write backend="unsloth", or another, and leave this out')


def _task_type(value: Any, context: Context) -> Settings:
    task = str(value).lower().removeprefix("tasktype.")
    algorithm = context.algorithm
    own = {algorithm.name, algorithm.kind, *algorithm.aliases}
    own.add("causal_lm" if algorithm.head == "lm" else "seq_cls")  # as peft and ms-swift call them
    if algorithm.supervised:
        own |= {"instruction_following", "instruction_tuning", "text_generation", "chat"}
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


def _precision(name: str) -> Translation:
    """A switch for a number format, which some libraries also let decide for itself."""

    def translate(value: Any, context: Context) -> Settings:
        if isinstance(value, str) and value.lower() == "auto":
            return [("model.precision", "auto")]
        return switch("model.precision", name)(value, context)

    return translate


# name -> what it means. None, False and "none" are let pass before these are asked.
TRANSLATED: dict[str, Translation] = {
    "bf16": _precision("bf16"),
    "fp16": _precision("fp16"),
    "fp32": _precision("fp32"),
    "loftq_init": switch("peft.init", "loftq"),
    "pissa_init": switch("peft.init", "pissa"),
    "use_flash_attention_2": switch("model.attn_implementation", "flash_attention_2"),
    "lora_variant": _lora_variant,
    "use_unsloth": _use_unsloth,
    "use_vllm": _use_vllm,
    "task_type": _task_type,
    "lora_task_type": _task_type,
    "auto_detect_fields": lambda _, __: [],  # columns are recognised anyway
    **{
        f"{role}_column": column(role)
        for role in ("prompt", "instruction", "input", "response", "chosen", "rejected")
    },
    **dict.fromkeys(("val_split", "validation_split", "val_size", "test_size", "eval_size"), share),
    **dict.fromkeys(("random_state", "random_seed"), same("run.seed")),
    **dict.fromkeys(("lr", "peak_lr"), same("optim.learning_rate")),
    **dict.fromkeys(("model_id", "model_path", "pretrained_model_name_or_path"), same("model.name")),
    **dict.fromkeys(("dataset_path", "train_file"), same("data.dataset")),
    **dict.fromkeys(("max_seq_len", "max_len", "model_max_length"), same("data.max_seq_length")),
    "num_proc": same("data.num_proc"),
    **dict.fromkeys(("eps", "adam_eps"), same("optim.adam_epsilon")),
    "mixed_precision": choice(
        {"bf16": [("model.precision", "bf16")], "fp16": [("model.precision", "fp16")]},
        'write precision="bf16"',
    ),
    "use_4bit": switch("model.quantization.load_in_4bit", True),
    "use_8bit": switch("model.quantization.load_in_8bit", True),
    "bnb_4bit_use_nested_quant": same("model.quantization.bnb_4bit_use_double_quant"),
    "use_nested_quant": same("model.quantization.bnb_4bit_use_double_quant"),
    "context_length": same("data.max_seq_length"),
    "tokenizer_path": same("model.tokenizer"),
    "num_samples": same("data.max_samples"),
    "rank": same("peft.r"),
    "lr_warmup_steps": same("optim.warmup_steps"),
    **dict.fromkeys(("out_dir", "output_path"), same("run.output_dir")),
    **dict.fromkeys(("reward_fn", "reward_function", "reward"), same("rewards.functions")),
    **dict.fromkeys(("num_return_sequences", "group_size"), parameter("num_generations")),
    **dict.fromkeys(("kl_beta", "kl_coeff"), parameter("beta")),
    **dict.fromkeys(
        ("use_flash_attn", "use_flash_attention", "flash_attention_2"),
        switch("model.attn_implementation", "flash_attention_2"),
    ),
}

# use_unsloth=False beside backend="unsloth" says two things, so its False is asked too.
FALSE_SAYS_SOMETHING = frozenset({"use_unsloth"})

_ROPE = "rope is as the model has it; take a model with the context length you need"
_SHIFTED = "attention is over whole rows; packing and flash_attention_2 make long ones cheap"
_VOCABULARY = "grow the vocabulary of model and tokenizer first, and save both; modules_to_save trains them"
_REWARD = 'train the reward model in a run of its own: algorithm="reward", then reward_model_name=ITS_FOLDER'
_DTYPE = 'write precision="bf16", "fp16" or "fp32"'
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
    "fast_inference": 'for the GRPO family write generation="vllm", with arguments of TRL in vllm_options',
    **dict.fromkeys(("gspo_gamma", "gspo_delta"), _CLIPS),
    "reference_free": "the policy is held to a reference; beta says how strongly",
    **dict.fromkeys(("processing_fn", "formatting_func"), _FUNCTION),
    **dict.fromkeys(("dtype", "torch_dtype", "compute_dtype", "pure_bf16", "float32_mixed_precision"), _DTYPE),
    "percent": 'write it into the split: split="train[:10%]"',
    **dict.fromkeys(("num_labels", "label_column"), "language models are trained, no classifiers"),
    **dict.fromkeys(("tokens_column", "tags_column"), "language models are trained, no taggers"),
    "peft_config": "give its values as use_peft, lora_r, lora_alpha, lora_target_modules, ...",
    "args": "give its values as keywords of this call",
    **dict.fromkeys(("deepspeed", "fsdp"), "whole copies train in parallel: start the script with torchrun"),
    **dict.fromkeys(("num_gpus", "gpus", "n_gpu", "devices"), "torchrun starts a process for each GPU"),
    **dict.fromkeys(("gpu_ids", "device_ids", "visible_devices"), "CUDA_VISIBLE_DEVICES says which GPUs are seen"),
    **dict.fromkeys(("response_template", "instruction_template"),
                    "completion_only_loss puts the loss on replies, by the chat template"),
    **dict.fromkeys(("block_size", "group_texts"), "packing=True fills sequences of max_seq_length tokens"),
    "max_tokens": "max_seq_length is the number of tokens a row may have, max_completion_length that of a completion",
    "max_target_length": "max_seq_length is the number of tokens a row may have, prompt and reply together",
    "reference_model": "the reference is the model as it was loaded: give the trained model as model_name",
    **dict.fromkeys(("quantize", "quantization_level"), "load_in_4bit=True or load_in_8bit=True"),
    "max_workers": "dataset_num_proc and dataloader_num_workers set the number of processes",
}  # fmt: skip

DEFAULTS: dict[str, Any] = {"reward_device": "auto", "dtype": "auto", "torch_dtype": "auto"}
