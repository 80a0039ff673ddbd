"""Keywords of LLaMA-Factory that are no names of ours."""

from __future__ import annotations

from typing import Any

from aligntune_core.config import keywords as kw
from aligntune_core.config.read.peers.adapters import FOUR_BIT, QUANTIZED, bits
from aligntune_core.config.read.translate import (
    Context,
    Refused,
    Settings,
    Translation,
    algorithm_name,
    choice,
    field_or,
    names_list,
    new_tokens,
    parameter,
    same,
    switch,
)

PLAIN_TEXT = 'plain text is trained by algorithm="sft" with text_column, the column that holds it'
_STAGES = {"pt": PLAIN_TEXT, "rlhf": 'write algorithm="dpo", "ppo" or "grpo"'}
_CONTINUE = "an adapter goes on training where model_name is its folder; merge_adapter=True merges it first"
_OTHER_OPTIMIZER = "optimizer takes those of transformers by name, galore_adamw or lomo for two"
_FREEZE = "which weights are trained is said by use_peft, lora_target_modules, layers_to_transform and modules_to_save"
_ATTENTION: dict[str, Settings] = {
    "auto": [],
    "disabled": [("model.attn_implementation", "eager")],
    "sdpa": [("model.attn_implementation", "sdpa")],
    "fa2": [("model.attn_implementation", "flash_attention_2")],
    "fa3": [("model.attn_implementation", "flash_attention_3")],
    "flash_attention_2": [("model.attn_implementation", "flash_attention_2")],
}
_SWANLAB = 'report_to=["swanlab"] reports to it; its own environment variables say how'
_IMAGES = "rows are text: images, videos and sounds are not read"
_MERGE = "save_model(FOLDER, merged=True) writes adapter and base as one model"
_VOCABULARY = "grow the vocabulary of model and tokenizer first, and save both; modules_to_save trains them"
_KT = "the weights are on the devices that device_map names"
_LOSSES = "loss_type has the losses that are offered"

ADAPTERS: dict[str, Settings] = {
    "lora": [("peft.enabled", True)],
    "full": [("peft.enabled", False)],
    "qlora": [("peft.enabled", True), *FOUR_BIT],
}
ADAPTERS_INSTEAD = "use_peft=True trains a LoRA adapter, use_peft=False every weight"


def lora_target(value: Any, context: Context) -> Settings:
    """Modules by name; "all" and "all-linear" are every linear layer."""
    if value in ("all", "all-linear", ["all"], ["all-linear"]):
        return [("peft.target_modules", "all-linear")]
    return names_list("peft.target_modules")(value, context)


def trains_on_prompt(value: Any, context: Context) -> Settings:
    """Whether the loss is on the prompt too: the opposite of ``completion_only_loss``."""
    if not isinstance(value, bool):
        raise Refused("must be true or false: completion_only_loss=False trains on prompts too")
    return [("data.completion_only_loss", False)] if value else []


def _pref_loss(value: Any, context: Context) -> Settings:
    word = str(value).lower()
    if word in ("orpo", "simpo"):
        raise Refused("is not offered: no algorithm of ours has it; loss_type has the losses of preferences")
    if word == "kto_pair":
        raise Refused('is not offered: algorithm="kto" trains on single completions, and reads pairs too')
    return parameter("loss_type")("bco_pair" if word == "bco" else value, context)


def _dft(value: Any, context: Context) -> Settings:
    if not context.algorithm.supervised:
        raise Refused("is not offered: the loss weighted by probabilities is one of supervised fine-tuning")
    return switch("parameters.loss_type", "dft")(value, context)


def _mask_history(value: Any, context: Context) -> Settings:
    if not isinstance(value, bool):
        raise Refused("must be true or false: it puts the loss on the last reply only")
    return field_or("train_on", "the loss is on every reply")("last", context) if value else []


def _resize_vocab(value: Any, context: Context) -> Settings:
    """Embeddings grow by themselves where new tokens are given."""
    if "new_tokens" in kw.flat():
        return []
    raise Refused(f"is not offered: {_VOCABULARY}")


def _no_checkpointing(value: Any, context: Context) -> Settings:
    return switch("optim.gradient_checkpointing", False)(value, context)


TRANSLATED: dict[str, Translation] = {
    "stage": algorithm_name(_STAGES),
    "finetuning_type": choice(ADAPTERS, ADAPTERS_INSTEAD),
    "cutoff_len": same("data.max_seq_length"),
    "preprocessing_num_workers": same("data.num_proc"),
    "default_system": same("data.system_prompt"),
    "train_on_prompt": trains_on_prompt,
    "mask_history": _mask_history,
    "resize_vocab": _resize_vocab,
    **dict.fromkeys(("add_tokens", "add_special_tokens", "new_special_tokens"), new_tokens(_VOCABULARY)),
    "neat_packing": switch("data.packing", True),
    "disable_shuffling": lambda value, context: field_or(
        "shuffle", "rows come in a seeded random order; group_by_length is the other order"
    )(not value, context),
    "enable_thinking": lambda value, context: field_or("chat_template_kwargs", "the template decides")(
        {"enable_thinking": value}, context
    ),
    "preserve_thinking": lambda value, context: field_or("chat_template_kwargs", "the template decides")(
        {"preserve_thinking": value}, context
    ),
    "lora_target": lora_target,
    "additional_target": names_list("peft.modules_to_save"),
    "flash_attn": choice(_ATTENTION, "attn_implementation names the kernel"),
    "enable_liger_kernel": same("optim.use_liger_kernel"),
    "disable_gradient_checkpointing": _no_checkpointing,
    "use_unsloth_gc": switch("optim.gradient_checkpointing", "unsloth"),
    "hf_hub_token": same("model.token"),
    "quantization_bit": bits,
    "quantization_type": same("model.quantization.bnb_4bit_quant_type"),
    "double_quantization": same("model.quantization.bnb_4bit_use_double_quant"),
    "quantization_method": choice({"bitsandbytes": [], "bnb": []}, QUANTIZED),
    "pref_beta": parameter("beta"),
    "pref_loss": _pref_loss,
    "dpo_label_smoothing": parameter("label_smoothing"),
    "kto_chosen_weight": parameter("desirable_weight"),
    "kto_rejected_weight": parameter("undesirable_weight"),
    "ppo_whiten_rewards": parameter("whiten_rewards"),
    "use_dft_loss": _dft,
    "use_swanlab": switch("run.report_to", ["swanlab"]),
}

# These are on unless they are switched off.
FALSE_SAYS_SOMETHING: frozenset[str] = frozenset(
    {"enable_thinking", "preserve_thinking", "double_quantization"}
)

NOT_OFFERED: dict[str, str] = {
    "template": "the chat template is the tokenizer's own; chat_template replaces it",
    "dataset_dir": "dataset_name is a hub id, a file or a folder; there is no list of names beside it",
    **dict.fromkeys(("media_dir", "image_max_pixels", "image_min_pixels", "image_do_pan_and_scan", "crop_to_patches",
                     "video_max_pixels", "video_min_pixels", "video_fps", "video_maxlen", "use_audio_in_video",
                     "audio_sampling_rate", "freeze_vision_tower", "freeze_multi_modal_projector",
                     "freeze_language_model"), _IMAGES),
    "buffer_size": "a stream is read in its own order",
    **dict.fromkeys(("mix_strategy", "interleave_probs"), "a mixture is made of datasets with weights, or beforehand"),
    "overwrite_cache": "prepared rows are made anew whenever rows or settings change",
    "preprocessing_batch_size": "dataset_num_proc is the one setting of the preparation",
    **dict.fromkeys(("tokenized_path", "data_shared_file_system"), "rows are prepared when a run starts"),
    "eval_num_beams": "evaluations write no text; trainer.generate does",
    "eval_on_each_dataset": "held-out rows are one data set: eval_dataset",
    "ignore_pad_token_for_loss": "padding never bears a loss",
    "tool_format": "tool calls are rendered as the chat template has them",
    **dict.fromkeys(("freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules"), _FREEZE),
    "loraplus_lr_ratio": "both matrices of LoRA have the same learning rate",
    "loraplus_lr_embedding": "all weights have the same learning rate",
    **dict.fromkeys(("pissa_iter", "pissa_convert"), 'lora_init="pissa" starts so, by an exact decomposition'),
    "create_new_adapter": "merge_adapter=True merges the adapter that model_name names, and trains a fresh one",
    **dict.fromkeys(("module_dropout", "oft_rank", "oft_block_size", "oft_target"), ADAPTERS_INSTEAD),
    "pref_ftx": 'for dpo write loss_type=["sigmoid", "sft"], loss_weights=[1.0, SHARE]',
    "pref_bco_weight": 'for dpo write loss_type=["sigmoid", "bco_pair"], loss_weights=[1.0, SHARE]',
    "ppo_buffer_size": "batch_size times gradient_accumulation_steps prompts are one rollout",
    "ppo_score_norm": "whiten_rewards scales rewards to unit variance",
    "ppo_target": "target_kl ends the passes over a rollout; kl_coef is fixed",
    **dict.fromkeys(("ref_model_adapters", "ref_adapters", "ref_model_quantization_bit", "ref_model_type",
                     "ref_model_revision"), "the reference is the model as it was loaded"),
    **dict.fromkeys(("reward_model_adapters", "reward_adapters", "reward_model_quantization_bit", "reward_model_type",
                     "reward_model_revision", "reward_template"),
                    "reward_model_name is one whole model, in the precision of the run"),
    **dict.fromkeys(("use_galore", "galore_target", "galore_rank", "galore_update_interval", "galore_scale",
                     "galore_proj_type", "galore_layerwise", "use_apollo", "apollo_target", "apollo_rank",
                     "apollo_update_interval", "apollo_scale", "apollo_proj", "apollo_proj_type", "apollo_scale_type",
                     "apollo_layerwise", "apollo_scale_front", "use_badam", "badam_mode", "badam_start_block",
                     "badam_switch_mode", "badam_switch_interval", "badam_update_ratio", "badam_mask_mode",
                     "badam_verbose", "use_adam_mini", "use_muon"), _OTHER_OPTIMIZER),
    **dict.fromkeys(("swanlab_project", "swanlab_workspace", "swanlab_run_name", "swanlab_mode", "swanlab_api_key",
                     "swanlab_logdir", "swanlab_lark_webhook_url", "swanlab_lark_secret"), _SWANLAB),
    "use_llama_pro": _FREEZE,
    **dict.fromkeys(("use_asft_loss", "asft_alpha", "use_eaft_loss", "eaft_alpha"), _LOSSES),
    **dict.fromkeys(("use_mca", "use_megatron_bridge", "megatron_bridge_args", "use_hyper_parallel",
                     "hyper_parallel_args", "hyper_parallel_cp_size", "ray_num_workers", "ray_init_kwargs",
                     "master_addr", "master_port"), "whole copies train in parallel: start the script with torchrun"),
    "compute_accuracy": "an evaluation reports the accuracy of tokens, or of pairs, anyway",
    "early_stopping_steps": "hand over callbacks=[transformers.EarlyStoppingCallback(...)]",
    "plot_loss": "metrics.jsonl in the run folder has the loss of every logged step",
    "include_effective_tokens_per_second": "metrics.jsonl has tokens per second anyway",
    **dict.fromkeys(("adapter_name_or_path", "adapter_folder"), _CONTINUE),
    "use_fast_tokenizer": "the tokenizer is the fast one where there is one",
    **dict.fromkeys(("new_special_tokens_config", "init_special_tokens", "split_special_tokens"), _VOCABULARY),
    "shift_attn": "attention is over whole rows; packing and flash_attention_2 make long ones cheap",
    "mixture_of_depths": "the model is trained as it is",
    "moe_aux_loss_coef": "the balance of experts is left as the model has it, without a term in the loss",
    "use_reentrant_gc": "gradient_checkpointing is the one setting",
    **dict.fromkeys(("upcast_layernorm", "upcast_lmhead_output"), "precision says what is computed in which format"),
    "train_from_scratch": "a model is loaded with its weights; save a fresh one, and name its folder",
    **dict.fromkeys(("infer_backend", "infer_dtype", "use_kv_cache", "vllm_maxlen", "vllm_gpu_util",
                     "vllm_enforce_eager", "vllm_max_lora_rank", "vllm_config", "sglang_maxlen", "sglang_mem_fraction",
                     "sglang_tp_size", "sglang_config", "sglang_lora_backend", "do_sample", "num_beams",
                     "length_penalty", "skip_special_tokens"), "trainer.generate writes text after training"),
    "use_v1_kernels": "use_liger_kernel=True takes liger's fused kernels",
    **dict.fromkeys(("ms_hub_token", "om_hub_token"), "models and data come from the Hugging Face hub or from folders"),
    "print_param_status": "aligntune plan shows what is trained",
    "quantization_device_map": "device_map places layers on devices",
    **dict.fromkeys(("export_dir", "export_size", "export_device", "export_quantization_bit",
                     "export_quantization_dataset", "export_quantization_nsamples", "export_quantization_maxlen",
                     "export_legacy_format", "export_hub_model_id"), _MERGE),
    **dict.fromkeys(("use_kt", "kt_config", "kt_cpu_activation", "kt_weight_path", "kt_non_expert_weight_path",
                     "kt_expert_checkpoint_path", "kt_use_lora_experts", "kt_lora_expert_num",
                     "kt_lora_expert_intermediate_size"), _KT),
    "block_diag_attn": "rows that are packed do not see each other",
    **dict.fromkeys(("enable_torch_profiler", "profiler_output_dir", "profiler_wait_steps", "profiler_warmup_steps",
                     "profiler_active_steps", "profiler_repeat", "profiler_record_shapes", "profiler_profile_memory",
                     "profiler_with_stack", "profile_modules"), "aligntune compare measures time and memory of a step"),
    **dict.fromkeys(("fp8", "fp8_backend", "fp8_enable_fsdp_float8_all_gather"),
                    'numbers are as precision says: "bf16", "fp16" or "fp32"'),
    "predict_with_generate": "trainer.generate writes completions of a trained model",
    **dict.fromkeys(("task", "task_dir", "lang", "n_shot", "save_dir", "download_mode"),
                    "benchmarks are run by tools of their own, on the trained model"),
}  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "dataset_dir": "data",
    "use_fast_tokenizer": True,
    "ignore_pad_token_for_loss": True,
    "mix_strategy": "concat",
    "preprocessing_batch_size": 1000,
    "buffer_size": 16384,
    "pref_ftx": 0.0,
    "pref_bco_weight": 0.0,
    "use_reentrant_gc": True,
    "use_kv_cache": True,
    "infer_dtype": "auto",
    "freeze_vision_tower": True,
    "freeze_multi_modal_projector": True,
}
