"""Keywords of transformers' TrainingArguments that are no names of ours."""

from __future__ import annotations

from typing import Any

from aligntune_core.config import keywords as kw
from aligntune_core.config.read.translate import (
    Context,
    Refused,
    Settings,
    Translation,
    always,
    field_or,
    same,
)

_RESUME = "it is said where a run starts: aligntune train CONFIG --resume (or --resume-from FOLDER), train(resume=True)"
_PROCESSES = "torchrun starts the processes of a run, and says each its rank"
_HUB = "the result is uploaded when training is over, by push_to_hub, or by trainer.push_to_hub(NAME)"
_MEMORY = (
    "set batch_size and gradient_accumulation_steps yourself, so that the run is the same on each machine"
)
_WHOLE = "whole copies train in parallel: start the script with torchrun"
_LOADER = "dataloader_num_workers is the one setting of the loader"
_EVAL = "an evaluation reads every held-out row and reports means; eval_batch_size is its one setting"
_LOG = "logging_steps says how often metrics are written; report_to where else"
_PARTS = "optimizer names the whole of it; its betas are adam_beta1 and adam_beta2"
_TRACKER = "set the tracker's own environment variables, WANDB_PROJECT or TRACKIO_SPACE_ID for one"
_STOP = "hand over callbacks=[transformers.EarlyStoppingCallback(...)]"
_NOISE = "no noise is added to embeddings"


def _do_eval(value: Any, context: Context) -> Settings:
    if any(
        context.peek(keyword)
        for keyword in ("eval_dataset", "eval_split", "eval_share")
        if keyword in kw.flat()
    ):
        return []
    raise Refused(
        "needs rows: give eval_dataset or eval_split, and eval_strategy says when they are evaluated"
    )


def _sampling(value: Any, context: Context) -> Settings:
    if value == "sequential":
        return field_or("shuffle", "rows come in a seeded random order")(False, context)
    settings: dict[str, Settings] = {"random": [], "group_by_length": [("data.group_by_length", True)]}
    if str(value) not in settings:
        raise Refused(
            "is not offered: rows come in a seeded random order, or with group_by_length=True by length"
        )
    return settings[str(value)]


def _evaluate_during_training(value: Any, _: Context) -> Settings:
    return [("run.eval_strategy", "steps" if value is True else value)]


TRANSLATED: dict[str, Translation] = {
    "evaluation_strategy": same("run.eval_strategy"),
    "evaluate_during_training": _evaluate_during_training,
    "activation_checkpointing": same("optim.gradient_checkpointing"),
    "activation_checkpointing_kwargs": field_or(
        "gradient_checkpointing_kwargs", "gradient_checkpointing is the one setting"
    ),
    "hub_token": same("model.token"),
    "push_to_hub_token": same("model.token"),
    "push_to_hub_model_id": field_or("hub_model_id", _HUB),
    "hub_private_repo": field_or("hub_private", _HUB),
    "do_train": always(True, because="aligntune plan CONFIG shows what a run would do"),
    "do_eval": _do_eval,
    "overwrite_output_dir": always(True, because="an earlier run in the folder is moved to earlier-run/N"),
    "logging_strategy": always("steps", because="metrics are written by steps: set logging_steps"),
    "logging_nan_inf_filter": always(True, because=_LOG),
    "log_on_each_node": always(True, because=_LOG),
    "average_tokens_across_devices": always(
        True, because="losses are means over the tokens of all processes, as one process has them"
    ),
    "save_safetensors": always(True, because="weights are written as safetensors"),
    "remove_unused_columns": always(
        True, because="columns that training does not read are always left out; reward functions get all"
    ),
    "train_sampling_strategy": _sampling,
    "dataloader_pin_memory": always(True, because=_LOADER),
    "dataloader_in_order": always(True, because=_LOADER),
    "eval_do_concat_batches": always(True, because=_EVAL),
    "restore_callback_states_from_checkpoint": always(
        True, because="a run that is resumed restores all that its checkpoint holds"
    ),
    "ddp_find_unused_parameters": always(because=_WHOLE),
    "skip_memory_metrics": always(True, because="aligntune compare measures memory"),
    "torch_compile_backend": always(
        "inductor", because="torch_compile=True compiles with torch's default backend"
    ),
    "torch_compile_mode": always("default", because="torch_compile=True compiles in torch's default mode"),
    "half_precision_backend": always("auto", because='precision="bf16" or "fp16" chooses the number format'),
}

# These are on unless they are switched off, so that False asks for something else.
FALSE_SAYS_SOMETHING = frozenset(
    {"save_safetensors", "average_tokens_across_devices", "activation_checkpointing"}
)

NOT_OFFERED: dict[str, str] = {
    "resume_from_checkpoint": _RESUME,
    **dict.fromkeys(("eval", "evaluate", "evaluation", "do_validation"),
                    "eval_dataset or eval_split gives held-out rows, eval_strategy says when they are evaluated"),
    "lr_scheduler_kwargs": "lr_scheduler takes schedules that need no arguments: linear, cosine, ...",
    **dict.fromkeys(("optim_args", "optim_target_modules"), _PARTS),
    "label_smoothing_factor": "the loss is cross-entropy on the tokens themselves; loss_type has what else there is",
    **dict.fromkeys(("bf16_full_eval", "fp16_full_eval"), "evaluations run in the precision of the run"),
    "gradient_checkpointing_kwargs": "gradient_checkpointing is the one setting",
    "liger_kernel_config": "use_liger_kernel=True takes all kernels that fit the model",
    "use_cache": "training keeps no cache of keys and values",
    "neftune_noise_alpha": _NOISE,
    "torch_empty_cache_steps": "batch_size and gradient_checkpointing decide what memory a step takes",
    "auto_find_batch_size": _MEMORY,
    **dict.fromkeys(
        ("logging_first_step", "include_num_input_tokens_seen", "include_tokens_per_second", "log_level",
         "log_level_replica", "disable_tqdm", "logging_dir"), _LOG),
    **dict.fromkeys(("project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"), _TRACKER),
    **dict.fromkeys(
        ("eval_delay", "prediction_loss_only", "eval_on_start", "eval_use_gather_object",
         "eval_accumulation_steps", "include_for_metrics", "include_inputs_for_metrics", "batch_eval_metrics"), _EVAL),
    "save_only_model": "checkpoints hold what a resumed run needs; save_strategy=\"no\" writes none",
    "save_on_each_node": "the first process writes the run folder",
    "enable_jit_checkpoint": "Ctrl-C and SIGTERM save a checkpoint after the current step anyway",
    **dict.fromkeys(
        ("push_to_hub", "hub_model_id", "hub_strategy", "hub_always_push", "hub_revision",
         "push_to_hub_organization"), _HUB),
    "ignore_data_skip": "a run that is resumed goes on with the rows that it has not seen",
    "full_determinism": "seed fixes every random choice of aligntune; CUBLAS_WORKSPACE_CONFIG is torch's own setting",
    **dict.fromkeys(("use_cpu", "no_cuda", "use_mps_device"), "CUDA_VISIBLE_DEVICES= hides the GPUs from a run"),
    **dict.fromkeys(("accelerator_config", "parallelism_config", "fsdp_config", "ddp_bucket_cap_mb",
                     "ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend", "fsdp_min_num_params",
                     "fsdp_transformer_layer_cls_to_wrap"), _WHOLE),
    "ddp_timeout": "processes wait for each other as long as torch's default",
    "dataloader_drop_last": "every row is trained on, those of the last batch too",
    **dict.fromkeys(("dataloader_persistent_workers", "dataloader_prefetch_factor",
                     "dataloader_multiprocessing_context"), _LOADER),
    "label_names": "the columns of a batch follow from the algorithm",
    "length_column_name": "lengths are counted from the tokens",
    "debug": "aligntune train --debug shows the traceback of an error",
    "do_predict": "aligntune trains and evaluates; trainer.generate writes completions",
    **dict.fromkeys(("local_rank", "world_size"), _PROCESSES),
    "past_index": "language models of this kind have no such output",
    **dict.fromkeys(("jit_mode_eval", "use_ipex", "tpu_num_cores", "tpu_metrics_debug", "mp_parameters", "ray_scope"),
                    "the backend decides what runs the model"),
    "early_stopping_patience": _STOP,
    "early_stopping_threshold": _STOP,
}  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "label_smoothing_factor": 0.0,
    "include_num_input_tokens_seen": "no",
    "log_level": "passive",
    "log_level_replica": "warning",
    "project": "huggingface",
    "eval_delay": 0,
    "hub_strategy": "every_save",
    "length_column_name": "length",
    "local_rank": -1,
    "ddp_timeout": 1800,
}
