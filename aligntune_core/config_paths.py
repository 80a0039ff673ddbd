"""Every path and keyword of the configuration tree, for listings: to import the tree itself would double their cost.

A test holds this equal to the tree.
"""

from __future__ import annotations


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


SECTIONS = frozenset(_words("data model optim parameters peft rewards run"))

PATHS = frozenset(
    _words(
        "algorithm backend backend_options data data.column_mapping data.completion_only_loss",
        "data.config_name data.dataset data.eval_dataset data.eval_split data.group_by_length",
        "data.max_eval_samples data.max_samples data.max_seq_length data.num_proc data.on_bad_rows",
        "data.packing data.packing_strategy data.padding_free data.split data.streaming",
        "data.system_prompt data.text_column data.truncation_mode isolation model",
        "model.attn_implementation model.chat_template model.device_map model.name model.precision",
        "model.quantization model.quantization.bnb_4bit_compute_dtype",
        "model.quantization.bnb_4bit_quant_type model.quantization.bnb_4bit_use_double_quant",
        "model.quantization.load_in_4bit model.quantization.load_in_8bit model.revision model.token",
        "model.tokenizer model.trust_remote_code optim optim.activation_offloading optim.adam_beta1",
        "optim.adam_beta2 optim.adam_epsilon optim.batch_size optim.eval_batch_size",
        "optim.gradient_accumulation_steps optim.gradient_checkpointing optim.learning_rate",
        "optim.lr_scheduler optim.max_grad_norm optim.max_steps optim.num_epochs optim.optimizer",
        "optim.tf32 optim.torch_compile optim.use_liger_kernel optim.warmup_ratio optim.warmup_steps",
        "optim.weight_decay parameters peft peft.alpha peft.bias peft.dropout peft.enabled peft.init",
        "peft.layers_to_transform peft.merge_adapter peft.modules_to_save peft.r peft.target_modules",
        "peft.use_dora peft.use_rslora rewards rewards.functions rewards.model rewards.weights run",
        "run.callbacks run.data_seed run.dataloader_num_workers run.eval_steps run.eval_strategy",
        "run.greater_is_better run.load_best_model_at_end run.logging_steps run.metric_for_best_model",
        "run.output_dir run.report_to run.run_name run.save_steps run.save_strategy run.save_total_limit",
        "run.seed",
    )
)

# keyword or alias -> which algorithms have it: a trait; "": all
KEYWORDS = {
    **dict.fromkeys(
        _words(
            "activation_offloading adam_beta1 adam_beta2 adam_epsilon algorithm attn_implementation backend",
            "backend_options batch_size bnb_4bit_compute_dtype bnb_4bit_quant_type bnb_4bit_use_double_quant",
            "callbacks chat_template column_mapping config_name data_seed dataloader_num_workers dataset",
            "dataset_config dataset_config_name dataset_name dataset_num_proc dataset_split",
            "dataset_text_field device_map epochs eval_batch_size eval_dataset eval_interval eval_split",
            "eval_steps eval_strategy field_mappings gradient_accumulation_steps gradient_checkpointing",
            "greater_is_better isolation layers_to_transform learning_rate load_best_model_at_end",
            "load_in_4bit load_in_8bit log_interval loggers logging_steps lora_alpha lora_bias lora_dropout",
            "lora_init lora_r lora_rank lora_target_modules lr_scheduler lr_scheduler_type max_eval_samples",
            "max_grad_norm max_length max_samples max_seq_length max_steps merge_adapter",
            "metric_for_best_model model model_name model_name_or_path modules_to_save num_epochs",
            "num_train_epochs on_bad_rows optim optimizer output_dir peft_enabled per_device_eval_batch_size",
            "per_device_train_batch_size precision quantization report_to revision run_name save_interval",
            "save_steps save_strategy save_total_limit seed split streaming subset system_prompt",
            "target_modules text_column tf32 token tokenizer tokenizer_name tokenizer_name_or_path",
            "torch_compile train_dataset train_split truncation_mode trust_remote_code use_dora",
            "use_gradient_checkpointing use_liger_kernel use_lora use_peft use_rslora warmup_ratio",
            "warmup_steps weight_decay",
        ),
        "",
    ),
    **dict.fromkeys(
        _words(
            "completion_only_loss packing packing_strategy",
        ),
        "supervised",
    ),
    **dict.fromkeys(
        _words(
            "group_by_length padding_free",
        ),
        "offline",
    ),
    **dict.fromkeys(
        _words(
            "reward_funcs reward_function_weights reward_functions reward_model reward_model_name",
            "reward_model_path reward_weights rewards",
        ),
        "rewards",
    ),
}
