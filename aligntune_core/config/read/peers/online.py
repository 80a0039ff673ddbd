"""Keywords of torchtune, OpenRLHF and verl that are no names of ours."""

from __future__ import annotations

from typing import Any

from aligntune_core.config.read.translate import (
    Context,
    Refused,
    Settings,
    Translation,
    always,
    column,
    field_or,
    parameter,
    same,
)

_WHOLE = "whole copies train in parallel: start the script with torchrun"
_GLOBAL = "rows an optimiser step are batch_size times gradient_accumulation_steps (times processes): give these two"
_FIELDS = (
    "a configuration here is flat: model_name, dataset_name, optimizer, lr_scheduler, max_seq_length, ..."
)
_ROLES = 'rows are recognised by their columns; column_mapping={"NAME": "prompt"} says what is what'
_VALUE_MODEL = "the value model starts from the policy and has its learning rate"


def _estimator(value: Any, context: Context) -> Settings:
    word = str(value).lower()
    if word == context.algorithm.name or (
        word == "gae" and "lam" in context.algorithm.parameters.model_fields
    ):
        return []
    raise Refused("is not offered: algorithm says how advantages are estimated: ppo, grpo, dr_grpo, ...")


def _uses_kl_loss(value: Any, _: Context) -> Settings:
    raise Refused("is not offered: beta is the weight of the KL in the loss, 0 for none")


TRANSLATED: dict[str, Translation] = {
    # torchtune
    "compile": same("optim.torch_compile"),
    "clip_grad_norm": same("optim.max_grad_norm"),
    "enable_activation_checkpointing": same("optim.gradient_checkpointing"),
    "enable_activation_offloading": same("optim.activation_offloading"),
    "log_every_n_steps": same("run.logging_steps"),
    "num_warmup_steps": same("optim.warmup_steps"),
    "packed": same("data.packing"),
    "num_cycles": lambda value, context: field_or("lr_scheduler_kwargs", "lr_scheduler names the schedule")(
        {"num_cycles": value}, context
    ),
    "keep_last_n_checkpoints": same("run.save_total_limit"),
    "log_peak_memory_stats": always(True, because="aligntune compare measures memory"),
    # OpenRLHF
    "pretrain": same("model.name"),
    "micro_train_batch_size": same("optim.batch_size"),
    "max_norm": same("optim.max_grad_norm"),
    "gradient_clipping": same("optim.max_grad_norm"),
    "lr_warmup_ratio": same("optim.warmup_ratio"),
    "actor_learning_rate": same("optim.learning_rate"),
    "packing_samples": same("data.packing"),
    "gradient_checkpointing_enable": same("optim.gradient_checkpointing"),
    "l2": same("optim.weight_decay"),
    "save_path": same("run.output_dir"),
    "prompt_data": same("data.dataset"),
    "prompt_key": column("prompt"),
    "chosen_key": column("chosen"),
    "rejected_key": column("rejected"),
    "output_key": column("completion"),
    "label_key": column("label"),
    "generate_max_len": parameter("max_completion_length"),
    "prompt_max_len": parameter("max_prompt_length"),
    "n_samples_per_prompt": parameter("num_generations"),
    "eps_clip": parameter("epsilon"),
    "value_clip": parameter("cliprange_value"),
    "lambd": parameter("lam"),
    "advantage_estimator": _estimator,
    # verl
    "train_files": same("data.dataset"),
    "val_files": same("data.eval_dataset"),
    "total_epochs": same("optim.num_epochs"),
    "total_training_steps": same("optim.max_steps"),
    "ppo_micro_batch_size_per_gpu": same("optim.batch_size"),
    "save_freq": same("run.save_steps"),
    "test_freq": same("run.eval_steps"),
    "experiment_name": same("run.run_name"),
    "max_response_length": parameter("max_completion_length"),
    "rollout_n": parameter("num_generations"),
    "kl_loss_coef": parameter("beta"),
    "clip_ratio": parameter("epsilon"),
    "clip_ratio_low": parameter("epsilon"),
    "clip_ratio_high": parameter("epsilon_high"),
    "adv_estimator": _estimator,
    "use_kl_loss": _uses_kl_loss,
}

FALSE_SAYS_SOMETHING: frozenset[str] = frozenset()

NOT_OFFERED: dict[str, str] = {
    **dict.fromkeys(("checkpointer", "metric_logger", "profiler"), _FIELDS),
    "loss": "loss_type names the loss",
    "scheduler": "lr_scheduler names the schedule",
    "min_lr_ratio": "lr_scheduler_kwargs has the settings of a schedule, min_learning_rate the rate that it ends at",
    "optimizer_in_bwd": "one optimiser step updates all weights; gradient_checkpointing saves memory",
    "fused": 'optimizer="adamw_torch_fused" is the fused one',
    "max_steps_per_epoch": "max_steps counts the steps of the whole run",
    "save_adapter_weights_only": "with an adapter a run writes the adapter alone",
    **dict.fromkeys(("lora_attn_modules", "apply_lora_to_mlp", "apply_lora_to_output"),
                    'write lora_target_modules, as ["q_proj", "v_proj"] or "all-linear"'),
    **dict.fromkeys(("checkpoint_dir", "checkpoint_files", "recipe_checkpoint", "adapter_checkpoint"),
                    "model_name is the folder of the model"),
    "log_dir": "output_dir is the run folder; metrics are in its metrics.jsonl",
    **dict.fromkeys(("train_batch_size", "rollout_batch_size_total", "ppo_mini_batch_size", "total_batch_size",
                     "global_batch_size", "effective_batch_size"), _GLOBAL),
    **dict.fromkeys(("micro_rollout_batch_size", "ppo_micro_batch_size"),
                    "batch_size is the number of rows a device works on at a time"),
    **dict.fromkeys(("critic_learning_rate", "critic_pretrain", "critic_warmup"), _VALUE_MODEL),
    **dict.fromkeys(("reward_pretrain", "remote_rm_url"), "reward_model_name names it; a function may ask a server"),
    **dict.fromkeys(("input_key", "input_template", "data_source", "reward_fn_key", "messages_key"), _ROLES),
    "apply_chat_template": "conversations go through the chat template, plain text (text_column) does not",
    "tokenizer_chat_template": "chat_template replaces the tokenizer's own",
    **dict.fromkeys(("zero_stage", "adam_offload", "zpg", "grad_accum_dtype", "overlap_comm", "ring_attn_size",
                     "ring_head_stride", "use_ring_attn", "n_gpus_per_node", "nnodes", "actor_num_nodes",
                     "actor_num_gpus_per_node", "colocate_all_models"), _WHOLE),
    **dict.fromkeys(("ckpt_path", "load_checkpoint", "resume_mode"),
                    "aligntune train CONFIG --resume goes on from the last complete checkpoint"),
    "aux_loss_coef": "the balance of experts is left as the model has it, without a term in the loss",
    "entropy_coeff": "no entropy term is added to the loss",
    "kl_target": "kl_coef is fixed; target_kl ends the passes over a rollout",
    "kl_horizon": "kl_coef is fixed",
    "kl_loss_type": "kl_estimator is the one of ppo",
    "kl_ctrl": "kl_coef is the weight of the KL",
    "project_name": "report_to names the trackers; their own environment variables say how",
    "nll_loss_coef": 'for dpo write loss_type=["sigmoid", "sft"], loss_weights=[1.0, SHARE]',
    "use_dynamic_bsz": "batch_size rows a device make a micro-batch",
    "filter_overlong_prompts": 'on_bad_rows="drop" leaves out rows that cannot be used',
    "shuffle": "rows come in a seeded random order",
    "tensor_model_parallel_size": _WHOLE,
    **dict.fromkeys(("async_prefetch", "prefetch_depth", "use_data_producer", "vllm_sync_interval", "vllm_lora_sync",
                     "streaming_partial_batch", "streaming_min_groups", "replay_buffer_size", "replay_recompute_logps",
                     "reroll_start_fraction", "reroll_max_groups", "skip_zero_advantage_batches", "reward_num_workers"),
                    "completions are drawn and learnt in turn, by one run; dynamic_sampling draws again"),
    "num_episodes": "num_epochs passes over the prompts",
}  # fmt: skip

DEFAULTS: dict[str, Any] = {"grad_accum_dtype": "fp32", "shuffle": True}
