"""Keywords of Axolotl that are no names of ours."""

from __future__ import annotations

from typing import Any

from aligntune_core.config.read.peers.llamafactory import (
    ADAPTERS,
    ADAPTERS_INSTEAD,
    PLAIN_TEXT,
    trains_on_prompt,
)
from aligntune_core.config.read.peers.trainers import eval_packing
from aligntune_core.config.read.translate import (
    Context,
    Refused,
    Settings,
    Translation,
    algorithm_name,
    choice,
    field_or,
    new_tokens,
    parameter,
    same,
    share,
    switch,
)

NEW_TOKENS = (
    "the tokenizer's own tokens are used; set them in the tokenizer and save it: tokenizer_name=ITS_FOLDER"
)
_LORA_KERNELS = 'use_liger_kernel and backend="unsloth" bring fused kernels'
_WHOLE = "whole copies train in parallel: start the script with torchrun"
_RATES = "all weights have the same learning rate"
_PACKED = "packing, packing_strategy and max_seq_length say how rows are packed"
_SCHEDULE = "lr_scheduler_kwargs has the settings of a schedule, min_learning_rate the rate that it ends at"
_TRACKER = "report_to names the trackers; their own environment variables say how"
_LOADED = "a model is loaded as its own configuration says"
_OTHER = 'write algorithm="reward" for a reward model; process rewards and diffusion are not offered'
_TIMES = "metrics.jsonl has tokens per second anyway"
_GENERATED = (
    "trainer.generate writes text after training; log_completions shows completions of online algorithms"
)


def _lora_target_linear(value: Any, context: Context) -> Settings:
    return switch("peft.target_modules", "all-linear")(value, context)


def _tracker(name: str) -> Translation:
    def translate(value: Any, _: Context) -> Settings:
        return [("run.report_to", [name])] if value else []

    return translate


def _special_tokens(value: Any, context: Context) -> Settings:
    """A mapping of the tokens that mark an end or fill a batch."""
    if not isinstance(value, dict):
        raise Refused('must be a mapping: {"eos_token": ...}')
    settings: Settings = []
    for name, token in value.items():
        if name in ("eos_token", "pad_token"):
            settings += field_or(name, NEW_TOKENS)(token, context)
        elif name == "additional_special_tokens":
            settings += new_tokens(NEW_TOKENS)(token, context)
        else:
            raise Refused(f"is not offered: {name} is the tokenizer's own. {NEW_TOKENS}")
    return settings


TRANSLATED: dict[str, Translation] = {
    "base_model": same("model.name"),
    "tokenizer_config": same("model.tokenizer"),
    "revision_of_model": same("model.revision"),
    "rl": algorithm_name(
        {
            "ipo": 'write algorithm="dpo" with loss_type="ipo"',
            "simpo": "no algorithm of ours has it",
        }
    ),
    "adapter": choice(ADAPTERS, ADAPTERS_INSTEAD),
    "lora_target_linear": _lora_target_linear,
    "peft_use_dora": same("peft.use_dora"),
    "peft_use_rslora": same("peft.use_rslora"),
    "peft_layers_to_transform": same("peft.layers_to_transform"),
    "sequence_len": same("data.max_seq_length"),
    "micro_batch_size": same("optim.batch_size"),
    "sample_packing": same("data.packing"),
    "eval_sample_packing": eval_packing,
    "val_set_size": share,
    "dataset_processes": same("data.num_proc"),
    "train_on_inputs": trains_on_prompt,
    "default_system_message": same("data.system_prompt"),
    "chat_template_jinja": same("model.chat_template"),
    "special_tokens": _special_tokens,
    **dict.fromkeys(("tokens", "additional_special_tokens"), new_tokens(NEW_TOKENS)),
    "bfloat16": switch("model.precision", "bf16"),
    "float16": switch("model.precision", "fp16"),
    "float32": switch("model.precision", "fp32"),
    "flash_attention": switch("model.attn_implementation", "flash_attention_2"),
    "sdp_attention": switch("model.attn_implementation", "sdpa"),
    "eager_attention": switch("model.attn_implementation", "eager"),
    "flex_attention": switch("model.attn_implementation", "flex_attention"),
    "rl_beta": parameter("beta"),
    "dpo_beta": parameter("beta"),
    "dpo_loss_type": parameter("loss_type"),
    "dpo_loss_weights": parameter("loss_weights"),
    "dpo_use_weighting": parameter("use_weighting"),
    "dpo_padding_free": same("data.padding_free"),
    "dpo_use_liger_kernel": same("optim.use_liger_kernel"),
    "kto_desirable_weight": parameter("desirable_weight"),
    "kto_undesirable_weight": parameter("undesirable_weight"),
    "wandb_name": same("run.run_name"),
    "use_wandb": _tracker("wandb"),
    "use_tensorboard": _tracker("tensorboard"),
    "use_mlflow": _tracker("mlflow"),
    "use_comet": _tracker("comet_ml"),
    "use_trackio": _tracker("trackio"),
}

FALSE_SAYS_SOMETHING: frozenset[str] = frozenset({"eval_sample_packing"})

NOT_OFFERED: dict[str, str] = {
    "strict": "an unknown keyword is an error anyway",
    "lora_target_parameters": "lora_target_modules names modules",
    "auto_resume_from_checkpoints": "aligntune train CONFIG --resume goes on from the last complete checkpoint",
    **dict.fromkeys(("resize_token_embeddings_to_32x", "mean_resizing_embeddings", "shrink_embeddings",
                     "embeddings_skip_upcast", "added_tokens_overrides", "fix_untrained_tokens"), NEW_TOKENS),
    **dict.fromkeys(("bos_token", "unk_token"), NEW_TOKENS),
    "eot_tokens": "the end of a turn is the one that the chat template writes; the tokenizer's EOS ends a text",
    **dict.fromkeys(("reinit_weights", "unfrozen_parameters", "freeze_mm_modules"),
                    "use_peft, lora_target_modules, layers_to_transform and modules_to_save say what is trained"),
    "trainer_cls": "algorithm and backend say what trains",
    "trl": "its keys are keywords of ours: write beta, num_generations, max_completion_length, ... themselves",
    **dict.fromkeys(("vllm", "ebft"), 'for the GRPO family write generation="vllm", with arguments in vllm_options'),
    **dict.fromkeys(("qat", "quantize_moe_experts", "gptq", "bnb_config_kwargs", "model_quantization_config",
                     "model_quantization_config_kwargs", "loftq_bits", "nvfp4"),
                    "load_in_4bit=True and load_in_8bit=True are the weight formats that are made on loading"),
    **dict.fromkeys(("dynamic_checkpoint", "save_first_step"), "save_steps says when checkpoints are written"),
    "process_reward_model": _OTHER,
    "test_datasets": "held-out rows are eval_dataset, with eval_split",
    **dict.fromkeys(("shuffle_merged_datasets", "shuffle_before_merging_datasets", "curriculum_sampling"),
                    "rows come in a seeded random order"),
    **dict.fromkeys(("dataset_prepared_path", "dataset_shard_num", "dataset_shard_idx", "skip_prepare_dataset",
                     "num_dataset_shards_to_save", "dataset_keep_in_memory", "push_dataset_to_hub", "is_preprocess",
                     "preprocess_iterable", "streaming_multipack_buffer_size"), "rows are prepared when a run starts"),
    "dataset_exact_deduplication": "remove equal rows beforehand",
    "pretraining_dataset": PLAIN_TEXT + "; streaming=True reads it as training goes",
    "hf_use_auth_token": "token is the access token; the login of this machine is used without it",
    **dict.fromkeys(("device", "ddp"), "the backend takes the device that this machine has; torchrun starts processes"),
    **dict.fromkeys(("do_causal_lm_eval", "eval_causal_lm_metrics", "do_bench_eval", "bench_dataset", "bench_split",
                     "eval_table_size", "eval_max_new_tokens"),
                    "an evaluation has the loss and the figures of its algorithm"),
    **dict.fromkeys(("loss_watchdog_threshold", "loss_watchdog_patience"), "callbacks takes your own TrainerCallback"),
    **dict.fromkeys(("gc_steps", "gc_collect_steps"), "batch_size and gradient_checkpointing decide on memory"),
    **dict.fromkeys(("selective_checkpointing", "layer_offloading"),
                    "gradient_checkpointing and activation_offloading are the settings"),
    "excess_length_strategy": "rows beyond max_seq_length are cut, at the end that truncation_mode says",
    "eval_sequence_len": "held-out rows have max_seq_length too",
    "min_sample_len": "leave short rows out beforehand",
    "max_prompt_len": "max_prompt_length limits prompts, of algorithms that generate",
    **dict.fromkeys(("sample_packing_group_size", "sample_packing_bin_size", "sample_packing_sequentially",
                     "sample_packing_mp_start_method", "multipack_real_batches", "pretrain_multipack_buffer_size",
                     "pretrain_multipack_attn", "pretraining_sample_concatenation", "sample_packing_eff_est",
                     "total_num_tokens", "total_supervised_tokens", "max_packed_sequence_len"), _PACKED),
    "pad_to_sequence_len": "batches are padded to their longest row; packing fills them",
    "batch_flattening": "padding_free=True makes a batch one flat sequence",
    **dict.fromkeys(("use_pose", "pose_split_on_token_ids", "pose_max_context_len", "pose_num_chunks"),
                    "rope is as the model has it; take a model with the context length you need"),
    **dict.fromkeys(("xformers_attention", "s2_attention", "sage_attention", "large_head_attention",
                     "flash_attn_d512", "sdpa_varlen", "gemma4_hybrid_attn_impl", "flex_attn_compile_kwargs",
                     "fused_attn_kernel", "scaling_softmax", "scaling_softmax_factor", "scaling_softmax_bias"),
                    "attn_implementation names the kernel: sdpa, eager, flash_attention_2, ..."),
    **dict.fromkeys(("flash_attn_cross_entropy", "flash_attn_fuse_mlp", "flash_attn_rms_norm", "lora_mlp_kernel",
                     "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel", "chunked_cross_entropy",
                     "chunked_cross_entropy_num_chunks", "tiled_mlp", "tiled_mlp_num_shards",
                     "tiled_mlp_use_original_mlp", "experts_implementation", "use_kernels"), _LORA_KERNELS),
    **dict.fromkeys(("use_eaft", "eaft_k", "flash_optimum"), "loss_type has the losses that are offered"),
    **dict.fromkeys(("deepcompile", "fsdp_version", "fp32_norms", "fp32_norm_classes", "fsdp_final_state_dict_type",
                     "dp_shard_size", "dp_replicate_size", "sequence_parallel_degree", "context_parallel_size",
                     "heads_k_stride", "ring_attn_func", "tensor_parallel_size", "use_ray", "ray_run_name",
                     "resources_per_worker", "qlora_sharded_model_loading"), _WHOLE),
    "torch_compile_options": "torch_compile=True compiles with torch's defaults",
    "evals_per_epoch": "eval_strategy=\"epoch\" evaluates after each, eval_steps between",
    "saves_per_epoch": "save_strategy=\"epoch\" saves after each, save_steps between",
    **dict.fromkeys(("profiler_steps", "profiler_steps_start"), "aligntune compare measures time and memory of a step"),
    "include_tkps": _TIMES,
    "noisy_embedding_alpha": "no noise is added to embeddings",
    "gpu_memory_limit": "device_map places layers on devices",
    **dict.fromkeys(("dpo_use_logits_to_keep", "dpo_generate_during_eval", "dpo_norm_loss"),
                    "the library's own defaults hold"),
    **dict.fromkeys(("is_falcon_derived_model", "is_llama_derived_model", "is_mistral_derived_model",
                     "is_qwen_derived_model", "type_of_model", "model_type", "base_model_config", "cls_model_config",
                     "overrides_of_model_config", "overrides_of_model_kwargs", "llama4_linearized_experts",
                     "use_onebitllms", "experimental_skip_move_to_device"), _LOADED),
    **dict.fromkeys(("tokenizer_use_fast", "tokenizer_legacy", "tokenizer_use_mistral_common", "tokenizer_type",
                     "processor_type", "processor_kwargs", "tokenizer_save_jinja_files"),
                    "the tokenizer is the model's own, or the one that tokenizer_name names"),
    "plugins": 'switches say it: use_liger_kernel=True; backends are plugins, see aligntune backends',
    **dict.fromkeys(("generate_samples", "num_generation_samples", "generation_max_new_tokens",
                     "generation_temperature", "generation_top_p", "generation_top_k", "generation_prompt_ratio",
                     "generation_do_sample"), _GENERATED),
    **dict.fromkeys(("wandb_run_id", "wandb_mode", "wandb_project", "wandb_entity", "wandb_watch", "wandb_log_model",
                     "wandb_run_group", "mlflow_tracking_uri", "mlflow_experiment_name", "mlflow_run_name",
                     "hf_mlflow_log_artifacts", "comet_api_key", "comet_workspace", "comet_project_name",
                     "comet_experiment_key", "comet_mode", "comet_online", "comet_experiment_config",
                     "trackio_project_name", "trackio_run_name", "use_otel_metrics", "otel_metrics_host",
                     "otel_metrics_port"), _TRACKER),
    **dict.fromkeys(("gradio_title", "gradio_share", "gradio_server_name", "gradio_server_port",
                     "gradio_max_new_tokens", "gradio_temperature"), "trainer.generate writes text after training"),
    **dict.fromkeys(("lisa_n_layers", "lisa_step_interval", "lisa_layers_attribute", "lisa_activated_layers"),
                    "the weights that are trained are the same in every step"),
    **dict.fromkeys(("image_size", "image_resize_algorithm", "role_boundaries"), "rows are text"),
    "lora_model_dir": "an adapter goes on training where model_name is its folder; merge_adapter=True merges it first",
    "lora_fan_in_fan_out": "peft sees by the layer's type how its weights lie",
    **dict.fromkeys(("lora_rank_pattern", "lora_alpha_pattern"), "every module has the rank lora_r"),
    **dict.fromkeys(("peft_layers_pattern", "peft_layer_replication"), "layers_to_transform names layers by number"),
    **dict.fromkeys(("peft_trainable_token_indices", "peft_ensure_weight_tying"),
                    "modules_to_save trains whole layers"),
    "peft_init_lora_weights": "lora_init has the starts: default, gaussian, pissa, loftq",
    "peft_autocast_adapter_dtype": "the adapter's weights are float32",
    "lora_on_cpu": "the backend takes the device that this machine has",
    **dict.fromkeys(("merge_lora", "merge_method"), "save_model(FOLDER, merged=True) writes one whole model"),
    **dict.fromkeys(("relora", "relora_steps", "relora_warmup_steps", "relora_prune_ratio", "relora_prune_method",
                     "relora_cpu_offload"), "one adapter is trained from start to end"),
    **dict.fromkeys(("embedding_lr", "embedding_lr_scale", "lr_groups"), _RATES),
    **dict.fromkeys(("torchdistx_path", "adam_beta3", "adam_epsilon2", "dion_lr", "dion_momentum",
                     "dion_rank_fraction", "dion_rank_multiple_of", "qgalore_rank", "qgalore_update_proj_gap",
                     "qgalore_scale", "qgalore_proj_type", "qgalore_proj_quant", "qgalore_proj_bits",
                     "qgalore_proj_group_size", "qgalore_cos_threshold", "qgalore_gamma_proj", "qgalore_queue_size"),
                    "optimizer takes those of transformers by name, without further arguments"),
    **dict.fromkeys(("lr_quadratic_warmup", "cosine_min_lr_ratio", "cosine_constant_lr_ratio", "lr_div_factor",
                     "jagged_restart_steps", "jagged_restart_warmup_steps", "jagged_restart_anneal_steps"), _SCHEDULE),
    "axolotl_config_path": "aligntune convert CONFIG writes a configuration of ours from it",
}  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "strict": True,
    "shuffle_merged_datasets": True,
    "tokenizer_use_fast": True,
}
