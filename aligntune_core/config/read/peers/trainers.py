"""Keywords of TRL's configurations (SFTConfig, DPOConfig, GRPOConfig, ...), and those of its scripts."""

from __future__ import annotations

from typing import Any

from aligntune_core.config.read.translate import (
    Context,
    Refused,
    Settings,
    Translation,
    always,
    field_or,
    same,
    share,
    vllm_option,
)

_VLLM = (
    "vllm_mode", "vllm_model_impl", "vllm_enable_sleep_mode", "vllm_structured_outputs_regex", "vllm_server_base_url",
    "vllm_server_host", "vllm_server_port", "vllm_server_timeout", "vllm_group_port", "vllm_gpu_memory_utilization",
    "vllm_max_model_length", "vllm_tensor_parallel_size", "vllm_importance_sampling_correction",
    "vllm_importance_sampling_mode", "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min",
    "vllm_importance_sampling_cap", "vllm_guided_decoding_regex",
)  # fmt: skip
_SMOOTHED = "no loss of ours has it: GRPO's own, GSPO, DAPO and Dr. GRPO are offered (loss_type, algorithm)"
_ENTROPY = "no entropy term is added to the loss; top_entropy_quantile keeps the loss to uncertain tokens"
_TEACHER = "there is no distillation from a teacher"
_LOADING = (
    "say each thing by its own name: revision, precision, attn_implementation, device_map, trust_remote_code"
)
_PAGED = 'generation="transformers" writes completions batch by batch; generation="vllm" is the fast way'
_EMBEDDED = (
    "the tokenizer's own tokens are used; set them in the tokenizer and save it: tokenizer_name=ITS_FOLDER"
)
_NO_ALGORITHM = "no algorithm of ours has it; its own is not offered"


def _assistant_only(value: Any, context: Context) -> Settings:
    if not context.algorithm.supervised:
        raise Refused("is not offered: the loss of this algorithm is on completions")
    return [("data.completion_only_loss", True)]


def eval_packing(value: Any, context: Context) -> Settings:
    """Whether held-out rows are packed: here, as training rows are."""
    if value == bool(context.peek("packing")):
        return []
    raise Refused("is not offered: held-out rows are packed where training rows are, by packing=True")


def _shuffle(value: Any, context: Context) -> Settings:
    """``shuffle_dataset`` of algorithms that do not draw prompts."""
    return field_or("shuffle", "rows come in a seeded random order")(value, context)


TRANSLATED: dict[str, Translation] = {
    **{name: vllm_option(name) for name in _VLLM},
    "gpu_memory_utilization": vllm_option("vllm_gpu_memory_utilization"),
    "assistant_only_loss": _assistant_only,
    "eval_packing": eval_packing,
    "shuffle_dataset": _shuffle,
    "model_revision": same("model.revision"),
    "dataset_train_split": same("data.split"),
    "dataset_test_split": same("data.eval_split"),
    "dataset_streaming": same("data.streaming"),
    "test_split_size": share,
    "use_liger_loss": same("optim.use_liger_kernel"),
    "use_liger": same("optim.use_liger_kernel"),
    "eos_token": field_or("eos_token", _EMBEDDED),
    "pad_token": field_or("pad_token", _EMBEDDED),
    "pad_to_multiple_of": always("auto", because="batches are padded to the longest row"),
    "log_multimodal": always(
        True, because="rows are text; log_completions writes completions to samples.jsonl"
    ),
    "ds3_gather_for_generation": always(
        True, because="whole copies train in parallel; there is nothing to gather"
    ),
}

FALSE_SAYS_SOMETHING: frozenset[str] = frozenset({"eval_packing"})

NOT_OFFERED: dict[str, str] = {
    "model_init_kwargs": _LOADING,
    "ref_model_init_kwargs": _LOADING,
    "router_aux_loss_coef": "the balance of experts is left as the model has it, without a term in the loss",
    "chat_template_path": "write the template's text as chat_template, or save it with the tokenizer",
    "dataset_kwargs": "rows are recognised by their columns; column_mapping says what is what",
    "datasets": "give one data set as dataset_name; several are joined beforehand, by datasets.interleave_datasets",
    **dict.fromkeys(("teacher_model_name_or_path", "teacher_model_revision", "teacher_model_init_kwargs"), _TEACHER),
    "cache_implementation": "the library chooses the cache of its generation",
    "max_tool_calling_iterations": "completions call no tools while they are trained",
    "num_completions_to_print": "log_completions_steps says how often some are shown",
    "log_unique_prompts": "samples.jsonl has every completion with its prompt",
    "log_completions_hub_repo": "completions are written to samples.jsonl in the run folder",
    "cast_lm_head_to_fp32": "logits are as precision says: precision=\"fp32\" for all of it",
    "generation_batch_size": "steps_per_generation says how many micro-batches are drawn at a time",
    **dict.fromkeys(("sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg",
                     "vespo_lambda_neg"), _SMOOTHED),
    **dict.fromkeys(("entropy_coef", "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max",
                     "entropy_coef_delta", "entropy_target"), _ENTROPY),
    "off_policy_mask_threshold": "epsilon and epsilon_high clip what is off the policy, and delta bounds the ratio",
    **dict.fromkeys(("use_transformers_continuous_batching", "transformers_continuous_batching_config",
                     "use_transformers_paged"), _PAGED),
    "normalize_advantages": "scale_rewards says what advantages are divided by",
    "reward_clip_range": "clip the score in your own reward function",
    "ignore_bias_buffers": "torch's own defaults hold for its processes",
    "rpo_alpha": 'for dpo write loss_type=["sigmoid", "sft"], loss_weights=[1.0, ALPHA]',
    "cpo_alpha": f"{_NO_ALGORITHM}. For preferences without a reference there is none; algorithm=\"dpo\" has one",
    "simpo_gamma": f"{_NO_ALGORITHM}. For preferences take algorithm=\"dpo\"",
    "orpo_alpha": f"{_NO_ALGORITHM}. For preferences take algorithm=\"dpo\"",
    "lmbda": _TEACHER,
    "ref_model": "the reference is the model as it was loaded: give the trained model as model_name",
    "model_adapter_name": "the adapter is named default",
    "ref_adapter_name": "the reference is the model as it was loaded",
    "force_use_ref_model": "the reference is the model as it was loaded",
    "label_pad_token_id": "tokens without a loss are marked as torch does",
    "padding_value": _EMBEDDED,
    "generate_during_eval": "trainer.generate writes completions of a trained model",
    "use_logits_to_keep": "the library computes the logits that it needs",
    "precompute_ref_eval_batch_size": "precompute_ref_batch_size is the size for all rows",
    "tools": "definitions of tools are read from the column tools of the rows",
    "environment_factory": "completions call no tools while they are trained",
    "rollout_func": "completions are drawn from the model; generation says by what",
    "data_collator": "batches follow from the algorithm",
    "compute_metrics": "an evaluation has the loss and the figures of its algorithm; callbacks see each step",
    "compute_loss_func": "loss_type chooses the loss",
    "preprocess_logits_for_metrics": "an evaluation has the loss and the figures of its algorithm",
    "optimizers": "optimizer and lr_scheduler name them",
    "optimizer_cls_and_kwargs": "optimizer names it",
    "processing_class": "give the tokenizer as tokenizer_name",
    "reward_processing_classes": "a reward model brings its own tokenizer",
    "quantization_bits": "write load_in_4bit=True or load_in_8bit=True",
}  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "vllm_mode": "colocate",
    "vllm_model_impl": "vllm",
    "vllm_server_host": "0.0.0.0",
    "vllm_server_port": 8000,
    "vllm_server_timeout": 240.0,
    "vllm_group_port": 51216,
    "vllm_gpu_memory_utilization": 0.3,
    "vllm_tensor_parallel_size": 1,
    "vllm_importance_sampling_correction": True,
    "vllm_importance_sampling_mode": "sequence_mask",
    "vllm_importance_sampling_clip_max": 3.0,
    "sapo_temperature_neg": 1.05,
    "sapo_temperature_pos": 1.0,
    "vespo_k_pos": 2.0,
    "vespo_lambda_pos": 3.0,
    "vespo_k_neg": 3.0,
    "vespo_lambda_neg": 2.0,
    "entropy_coef": 0.0,
    "entropy_coef_min": 0.0,
    "entropy_coef_max": 1.0,
    "entropy_coef_delta": 0.005,
    "entropy_target": 0.2,
    "router_aux_loss_coef": 0.001,
}
