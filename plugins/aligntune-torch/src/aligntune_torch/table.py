"""What this backend honours, in three tables: each config path with the name of what takes it and gives it back.

``LOAD`` and ``ADAPTER`` go to argument objects that exist before weights do, so core sees them in ``planned``;
``BUILT`` is read from the built engine, for ``effective``.
"""

from __future__ import annotations

LOAD = {
    "model.revision": "revision",
    "model.token": "token",
    "model.trust_remote_code": "trust_remote_code",
    "model.attn_implementation": "attn_implementation",
}
"""Arguments of ``from_pretrained``."""

ADAPTER = {
    "peft.r": "r",
    "peft.alpha": "lora_alpha",
    "peft.dropout": "lora_dropout",
    "peft.target_modules": "target_modules",
    "peft.bias": "bias",
    "peft.use_rslora": "use_rslora",
    "peft.modules_to_save": "modules_to_save",
}
"""Fields of peft's ``LoraConfig``."""

BUILT = {
    "model.precision": "precision",
    "peft.enabled": "adapted",
    "data.max_seq_length": "encoder.max_length",
    "data.truncation_mode": "encoder.truncation_mode",
    "data.completion_only_loss": "encoder.completion_only",
    "optim.learning_rate": "group.initial_lr",
    "optim.weight_decay": "group.weight_decay",
    "optim.adam_beta1": "group.beta1",
    "optim.adam_beta2": "group.beta2",
    "optim.adam_epsilon": "group.eps",
    "optim.batch_size": "batches.size",
    "optim.gradient_accumulation_steps": "batches.accumulation",
    "optim.lr_scheduler": "loop.lr_scheduler",
    "optim.warmup_steps": "loop.warmup_steps",
    "optim.warmup_ratio": "loop.warmup_ratio",
    "optim.num_epochs": "loop.num_epochs",
    "optim.max_steps": "loop.max_steps",
    "optim.eval_batch_size": "loop.eval_batch_size",
    "optim.max_grad_norm": "loop.max_grad_norm",
    "run.data_seed": "batches.seed",
    "run.logging_steps": "loop.logging_steps",
    "run.save_strategy": "loop.save_strategy",
    "run.save_steps": "loop.save_steps",
    "run.save_total_limit": "loop.save_total_limit",
    "run.eval_strategy": "loop.eval_strategy",
    "run.eval_steps": "loop.eval_steps",
}
"""Attributes of ``Engine``. What the loop itself goes by has no other object than ``Engine.loop``."""

HONOURS = frozenset({*LOAD, *ADAPTER, *BUILT})

PARAMETERS = {"sft": frozenset[str](), "dpo": frozenset({"beta", "disable_dropout"})}
"""Algorithms with those of their parameters that are honoured; the others have to keep their defaults."""
