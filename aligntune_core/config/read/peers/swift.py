"""Keywords of ms-swift that are no names of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligntune_core.config.read.peers.adapters import QUANTIZED, bits
from aligntune_core.config.read.peers.adapters import TRANSLATED as OF_ADAPTERS
from aligntune_core.config.read.peers.llamafactory import ADAPTERS, ADAPTERS_INSTEAD
from aligntune_core.config.read.peers.llamafactory import TRANSLATED as OF_LLAMAFACTORY
from aligntune_core.config.read.translate import (
    Context,
    Refused,
    Settings,
    Translation,
    algorithm_name,
    always,
    choice,
    field_or,
    same,
    share,
)

_HUB = "models and data come from the Hugging Face hub, or from folders"
_PLUGINS = (
    "rewards are given as package.module:function; algorithms, formats and backends come as installed plugins"
)
_WHICH = "use_peft, lora_target_modules, layers_to_transform and modules_to_save say what is trained"
_TEMPLATE = "the chat template is the tokenizer's own; chat_template replaces it"
_TEACHER = "there is no distillation from a teacher"
_ALL_RATES = "all weights have the same learning rate"
_OTHER_OPTIMIZER = "optimizer takes those of transformers by name"
_OF_OTHER_ADAPTERS = (
    "lora_ga_batch_size", "lora_ga_iters", "lora_ga_max_length", "lora_ga_direction", "lora_ga_scale",
    "lora_ga_stable_gamma", "fourier_n_frequency", "fourier_scaling", "boft_block_size", "boft_block_num",
    "boft_n_butterfly_factor", "boft_dropout", "vera_rank", "vera_projection_prng_key", "vera_dropout",
    "vera_d_initial", "adapter_act", "adapter_length", "adalora_target_r", "adalora_init_r", "adalora_tinit",
    "adalora_tfinal", "adalora_deltaT", "adalora_beta1", "adalora_beta2", "adalora_orth_reg_weight",
    "llamapro_num_new_blocks", "llamapro_num_groups", "reft_layer_key", "reft_layers", "reft_rank",
    "reft_intervention_type", "reft_args", "use_swift_lora", "lora_dtype",
)  # fmt: skip


def _columns(value: Any, _: Context) -> Settings:
    if not isinstance(value, Mapping):
        raise Refused('must be a mapping: column_mapping={"COLUMN": "role"}')
    return [("data.column_mapping", dict(value))]


def _truncation(value: Any, _: Context) -> Settings:
    ends = {"left": "keep_end", "right": "keep_start"}
    if str(value) not in ends:
        raise Refused(
            'is not offered: truncation_mode="keep_start" or "keep_end" cuts long rows; leave them out beforehand to '
            "drop them"
        )
    return [("data.truncation_mode", ends[str(value)])]


def _loss_scale(value: Any, context: Context) -> Settings:
    if value == "last_round":
        return field_or("train_on", "the loss is on every reply")("last", context)
    if value == "all":
        return [("data.completion_only_loss", False)]
    raise Refused(
        "is not offered: completion_only_loss says what bears the loss; all its tokens weigh the same"
    )


def _tuner_backend(value: Any, context: Context) -> Settings:
    if str(context.peek("backend") or "auto") == value or value == "peft":
        return []
    raise Refused(f'is decided by backend: write backend="{value}"')


TRANSLATED: dict[str, Translation] = {
    "rlhf_type": algorithm_name(
        {
            **dict.fromkeys(
                ("simpo", "orpo", "cpo"), "no algorithm of ours has it; for preferences there is dpo"
            ),
            "rm": 'write algorithm="reward"',
            "gkd": _TEACHER,
        }
    ),
    "tuner_backend": _tuner_backend,
    "tuner_type": choice(ADAPTERS, ADAPTERS_INSTEAD),
    "train_type": choice(ADAPTERS, ADAPTERS_INSTEAD),
    "sft_type": choice(ADAPTERS, ADAPTERS_INSTEAD),
    "attn_impl": OF_LLAMAFACTORY["flash_attn"],
    "quant_bits": bits,
    "quant_method": choice({"bnb": [], "bitsandbytes": []}, QUANTIZED),
    "val_dataset": same("data.eval_dataset"),
    "split_dataset_ratio": share,
    "columns": _columns,
    "system": same("data.system_prompt"),
    "truncation_strategy": _truncation,
    "loss_scale": _loss_scale,
    "target_regex": same("peft.target_modules"),
    "init_weights": OF_ADAPTERS["init_lora_weights"],
    "lorap_lr_ratio": field_or("loraplus_lr_ratio", "both matrices of LoRA have the same learning rate"),
    "enable_dft_loss": OF_LLAMAFACTORY["use_dft_loss"],
    "train_dataloader_shuffle": field_or("shuffle", "rows come in a seeded random order"),
    "dataset_shuffle": field_or("shuffle", "rows come in a seeded random order"),
    "use_hf": always(True, because=_HUB),
    "use_chat_template": always(True, because="text_column trains on plain text, without a template"),
    "safe_serialization": always(True, because="weights are written as safetensors"),
    "template_backend": always("jinja", "swift", because=_TEMPLATE),
    "load_from_cache_file": always(True, because="rows are prepared when a run starts"),
    "check_model": always(True, because="weights are read as they are"),
    "max_epochs": same("optim.num_epochs"),
    "early_stop_interval": field_or(
        "early_stopping_patience", "pass callbacks=[transformers.EarlyStoppingCallback(...)]"
    ),
}

FALSE_SAYS_SOMETHING: frozenset[str] = frozenset(
    {"use_chat_template", "dataset_shuffle", "train_dataloader_shuffle"}
)

NOT_OFFERED: dict[str, str] = {
    "adapters": "an adapter goes on training where model_name is its folder; merge_adapter=True merges it first",
    **dict.fromkeys(("external_plugins", "custom_register_path", "custom_dataset_info"), _PLUGINS),
    "model_kwargs": "say each thing by its own name: revision, precision, attn_implementation, device_map",
    **dict.fromkeys(("load_args", "load_data_args"), "aligntune train RUN/aligntune.json repeats a run"),
    **dict.fromkeys(("packing_length", "packing_num_proc"), "packed sequences have max_seq_length tokens"),
    **dict.fromkeys(("lazy_tokenize", "cached_dataset", "cached_val_dataset"), "rows are prepared when a run starts"),
    "ignore_args_error": "an unknown keyword is an error",
    "enable_npu_model_patch": "the backend decides what runs the model",
    "val_dataset_shuffle": "held-out rows are all evaluated, so their order says nothing",
    **dict.fromkeys(("interleave_prob", "stopping_strategy"), "a mixture is made of datasets with weights"),
    "shuffle_buffer_size": "a stream is read in its own order",
    "disable_auto_column_mapping": "column_mapping overrides what is recognised",
    **dict.fromkeys(("model_author", "local_repo_path", "init_strategy", "problem_type", "experts_impl"),
                    "a model is loaded as its own configuration says"),
    "max_model_len": "max_seq_length is the number of tokens a row may have",
    "hqq_axis": QUANTIZED,
    **dict.fromkeys(("agent_template", "response_prefix", "add_non_thinking_prefix", "disable_ignore_empty_think",
                     "norm_bbox", "padding_side"), _TEMPLATE),
    "max_pixels": "rows are text: images, videos and sounds are not read",
    **dict.fromkeys(("is_binary_loss_scale", "enable_channel_loss"),
                    "completion_only_loss says what bears the loss; all its tokens weigh the same"),
    "sequence_parallel_size": "whole copies train in parallel: start the script with torchrun",
    "max_shard_size": "weights are written in files of the library's own size",
    **dict.fromkeys(("teacher_model", "teacher_adapters", "teacher_model_type", "teacher_deepspeed",
                     "teacher_model_server", "offload_teacher_model", "seq_kd", "gkd_logits_topk", "sft_alpha"),
                    _TEACHER),
    **dict.fromkeys(("local_rollout_forward_batch_size", "num_sample_generations"),
                    "rollout_batch_size and max_steps say how much is generated"),
    **dict.fromkeys(("swanlab_token", "swanlab_exp_name", "swanlab_notification_method", "swanlab_webhook_url",
                     "swanlab_secret", "swanlab_sender_email", "swanlab_receiver_email", "swanlab_smtp_server",
                     "swanlab_smtp_port", "swanlab_email_language"),
                    'report_to=["swanlab"] reports to it; its own environment variables say how'),
    **dict.fromkeys(("add_version", "create_checkpoint_symlink"), "output_dir is the run folder itself"),
    **dict.fromkeys(("zero_hpz_partition_size", "deepspeed_autotp_size", "ray_exp_name", "device_groups",
                     "use_flash_ckpt"), "whole copies train in parallel: start the script with torchrun"),
    **dict.fromkeys(("freeze_parameters", "freeze_parameters_regex", "freeze_parameters_ratio", "trainable_parameters",
                     "trainable_parameters_regex", "freeze_llm", "freeze_vit", "freeze_aligner",
                     "vit_gradient_checkpointing"), _WHICH),
    **dict.fromkeys(_OF_OTHER_ADAPTERS, ADAPTERS_INSTEAD),
    **dict.fromkeys(("aligner_lr", "vit_lr"), _ALL_RATES),
    "acc_strategy": "an evaluation reports the accuracy of tokens",
    "resume_only_model": "model_name is the checkpoint folder of the run to go on from, with a schedule of its own",
    "mrl_dims": "language models are trained, no embeddings",
    **dict.fromkeys(("eval_metric", "eval_use_evalscope", "eval_dataset_args", "eval_limit", "eval_generation_config",
                     "extra_eval_args"), "an evaluation has the loss and the figures of its algorithm"),
    **dict.fromkeys(("galore_target_modules", "galore_update_proj_gap", "galore_optim_per_parameter",
                     "galore_with_embedding", "galore_quantization", "galore_proj_quant", "galore_proj_bits",
                     "galore_proj_group_size", "galore_cos_threshold", "galore_gamma_proj", "galore_queue_size"),
                    _OTHER_OPTIMIZER),
    **dict.fromkeys(("stream", "stop_words", "logprobs", "top_logprobs", "structured_outputs_regex"),
                    "trainer.generate writes text after training"),
}  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "padding_side": "right",
    "loss_scale": "default",
    "max_shard_size": "5GB",
    "stopping_strategy": "first_exhausted",
    "shuffle_buffer_size": 1000,
    "acc_strategy": "token",
    "lora_ga_batch_size": 2,
}
