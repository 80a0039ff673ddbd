"""Keywords of TRL's experimental configurations, most of algorithms that are not offered."""

from __future__ import annotations

from typing import Any

from aligntune_core.config.read.translate import Translation

_TEACHER = "there is no distillation from a teacher"
_ASYNC = "completions are drawn and learnt in turn, by one run"
_ITSELF = "there is no algorithm that learns from its own better answers"

TRANSLATED: dict[str, Translation] = {}

FALSE_SAYS_SOMETHING: frozenset[str] = frozenset()

NOT_OFFERED: dict[str, str] = {
    **dict.fromkeys(
        ("teacher_model_kind", "teacher_model_server_url", "teacher_prompt_template", "teacher_server_urls",
         "teacher_sync_steps", "teacher_temperature", "teacher_tokenizer_name_or_path", "teacher_top_k",
         "teacher_update_rate", "use_teacher_server", "generate_from_teacher", "kd_temperature", "add_tail_bucket",
         "distillation_add_tail", "distillation_alpha", "distillation_is_clip", "distillation_mode",
         "distillation_objective", "distillation_topk", "distillation_weight", "iw_opd_epsilon", "iw_opd_gamma",
         "loss_add_tail", "loss_top_k", "num_loss_tokens_to_skip", "reverse_kl_top_1_mode", "rkl_advantage",
         "single_step_decomposition", "length_normalization", "uld_crossentropy_weight", "uld_distillation_weight",
         "uld_hybrid_matched_weight", "uld_hybrid_unmatched_weight", "uld_skip_student_eos", "uld_skip_teacher_eos",
         "uld_student_temperature", "uld_teacher_temperature", "uld_token_merge_strategy", "uld_use_hybrid_loss",
         "use_extended_uld", "use_uld_loss"), _TEACHER),
    **dict.fromkeys(
        ("fork_threshold_tokens", "heartbeat_stale_after_s", "max_inflight_tasks", "max_staleness", "queue_maxsize",
         "request_timeout", "token_budget", "weight_sync_steps", "weight_sync_timeout", "vllm_sync_frequency"), _ASYNC),
    **dict.fromkeys(
        ("diagnostics_flat_tolerance", "diagnostics_warning_interval", "dont_reprompt_on_self_success",
         "environment_feedback_only_without_solution", "feedback_template", "filter_empty", "filter_all_incorrect",
         "include_environment_feedback", "max_reprompt_len", "remove_thinking_from_demonstration", "reprompt_template",
         "solution_template", "success_reward_threshold", "use_successful_as_teacher", "num_value_samples"), _ITSELF),
    **dict.fromkeys(("tpo_alpha", "tpo_l_gamma"), 'no algorithm of ours has it. For preferences take algorithm="dpo"'),
    "is_encoder_decoder": "models that write from left to right are trained",
    "wandb_log_unique_prompts": "samples.jsonl has every completion with its prompt",
    **dict.fromkeys(("beta1", "beta2", "betas", "adam_betas"), "the optimiser's are adam_beta1 and adam_beta2"),
    "momentum": "optimizer names an optimiser with its usual settings",
}  # fmt: skip

DEFAULTS: dict[str, Any] = {}
