"""What this backend honours: each config path, the object that takes it, and its name there. Written, and read back.

The parts are the objects that a run is built of: "load" (arguments of ``from_pretrained``), "lora" (peft's
``LoraConfig``), "encoder" and "batches" (ours), "accelerator", "optimizer", "loop" and "patience" (ours), "model".
"load" and "lora" exist before weights do, so core sees them in ``planned``; ``Engine.effective`` reads the others from
the built run.
"""

from __future__ import annotations

from pydantic import SecretStr

from aligntune_core.toolkit import Argument, Table

MIXED_PRECISION = {"fp32": "no", "bf16": "bf16"}


def _as_list(names: object) -> object:
    return sorted(names) if isinstance(names, (set, frozenset)) else names


def _alike(section: str, part: str, *names: str) -> Table:
    """Arguments that are called as the field is."""
    return tuple(Argument(f"{section}.{name}", part, name) for name in names)


TABLE: Table = (
    Argument("model.revision", "load", "revision", libraries_choice=True),
    Argument("model.token", "load", "token", SecretStr.get_secret_value, SecretStr, libraries_choice=True),
    Argument("model.trust_remote_code", "load", "trust_remote_code"),
    Argument("model.attn_implementation", "load", "attn_implementation", libraries_choice=True),
    Argument(
        "model.precision",
        "accelerator",
        "mixed_precision",
        MIXED_PRECISION.__getitem__,
        {name: precision for precision, name in MIXED_PRECISION.items()}.__getitem__,
    ),
    Argument("peft.enabled", "model", "adapted"),
    *_alike("peft", "lora", "r", "bias", "use_rslora"),
    Argument("peft.alpha", "lora", "lora_alpha"),
    Argument("peft.dropout", "lora", "lora_dropout"),
    Argument("peft.target_modules", "lora", "target_modules", back=_as_list),
    Argument("peft.modules_to_save", "lora", "modules_to_save", back=_as_list),
    Argument("data.max_seq_length", "encoder", "max_length"),
    Argument("data.truncation_mode", "encoder", "truncation_mode"),
    Argument("data.completion_only_loss", "encoder", "completion_only"),
    Argument("data.shuffle", "batches", "shuffle"),
    Argument("optim.batch_size", "batches", "size"),
    Argument("optim.gradient_accumulation_steps", "batches", "accumulation"),
    Argument("run.data_seed", "batches", "seed"),
    Argument("optim.learning_rate", "optimizer", "lr"),
    Argument("optim.weight_decay", "optimizer", "weight_decay"),
    Argument("optim.adam_beta1", "optimizer", "beta1"),
    Argument("optim.adam_beta2", "optimizer", "beta2"),
    Argument("optim.adam_epsilon", "optimizer", "eps"),
    Argument("optim.loraplus_lr_ratio", "optimizer", "loraplus_lr_ratio"),
    *_alike("optim", "loop", "lr_scheduler", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio"),
    *_alike("optim", "loop", "num_epochs", "max_steps", "eval_batch_size", "max_grad_norm"),
    *_alike("run", "loop", "logging_steps", "logging_first_step"),
    *_alike("run", "loop", "eval_strategy", "eval_steps", "eval_on_start"),
    *_alike("run", "loop", "save_strategy", "save_steps", "save_total_limit", "save_only_model"),
    Argument("run.early_stopping_patience", "patience", "limit"),
    Argument("run.early_stopping_threshold", "patience", "threshold"),
)

HONOURS = frozenset(argument.path for argument in TABLE)
