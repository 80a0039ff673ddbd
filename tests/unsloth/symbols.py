"""Which functions and classes of patched libraries a process holds, by identity.

Run by ``python -c`` in tests, in a process that must stay clean; see test_unsloth_isolation.py.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
# What Unsloth replaces on one of its two paths, as module, then attributes.
NAMED = (
    ("transformers.training_args", "TrainingArguments.__post_init__"),
    ("transformers.trainer", "Trainer.train"),
    ("transformers.trainer", "Trainer._inner_training_loop"),
    ("transformers.trainer", "Trainer.compute_loss"),
    ("transformers.trainer", "Trainer.training_step"),
    ("transformers.trainer", "Trainer.prediction_step"),
    ("transformers.trainer", "Trainer.get_batch_samples"),
    ("transformers.trainer", "Trainer.create_accelerator_and_postprocess"),
    ("transformers.modeling_utils", "PreTrainedModel.from_pretrained"),
    ("transformers.modeling_utils", "PreTrainedModel.save_pretrained"),
    ("transformers.tokenization_utils_base", "PreTrainedTokenizerBase.apply_chat_template"),
    ("transformers.models.llama.modeling_llama", "LlamaForCausalLM.forward"),
    ("transformers.models.llama.modeling_llama", "LlamaAttention.forward"),
    ("peft.mapping_func", "get_peft_model"),
    ("peft.peft_model", "PeftModel.save_pretrained"),
    ("peft.peft_model", "PeftModelForCausalLM.forward"),
    ("trl.trainer.sft_trainer", "SFTTrainer"),
    ("trl.trainer.sft_trainer", "SFTTrainer.compute_loss"),
    ("trl.trainer.sft_config", "SFTConfig.__post_init__"),
    ("trl.trainer.dpo_config", "DPOConfig.__post_init__"),
    ("trl.trainer.utils", "_ChunkedLogProbFunction"),
    ("torch.utils.checkpoint", "checkpoint"),
    ("torch", "load"),
    ("torch", "__getattr__"),
)


def import_all() -> None:
    """Import everything that is looked at, lazy members of transformers and trl included."""
    import importlib

    for module, _ in NAMED:
        importlib.import_module(module)
    import torch
    from trl import DPOConfig, DPOTrainer, GRPOTrainer, SFTConfig, SFTTrainer  # noqa: F401

    for kind in (torch.optim.SGD, torch.optim.AdamW):  # torch wraps step() when a class is first used
        kind([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def named() -> dict[str, Any]:
    """The symbols of ``NAMED``, read through ``sys.modules``."""
    found = {}
    for module, path in NAMED:
        value: Any = sys.modules[module]
        for name in path.split("."):
            value = (
                vars(value)[name]
                if isinstance(value, type) and name in vars(value)
                else getattr(value, name, None)
            )
        found[f"{module}:{path}"] = value
    return found


def snapshot() -> dict[str, Any]:
    """Every function and class of the libraries, methods and properties of the classes too."""
    found: dict[str, Any] = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] not in LIBRARIES:
            continue
        for name, value in list(vars(module).items()):
            if isinstance(value, (FunctionType, type)):
                found[f"{module_name}:{name}"] = value
            if isinstance(value, type) and value.__module__.partition(".")[0] in LIBRARIES:
                found |= {
                    f"{module_name}:{name}.{member}": held
                    for member, held in list(vars(value).items())
                    if isinstance(held, (FunctionType, staticmethod, classmethod, property))
                }
    return found | named()


def replaced(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Symbols that were there before and are not the same object now."""
    return sorted(name for name, value in before.items() if after.get(name) is not value)


def foreign(found: dict[str, Any]) -> list[str]:
    """Symbols whose code is Unsloth's."""
    return sorted(
        name
        for name, value in found.items()
        if str(getattr(value, "__module__", "")).partition(".")[0] in ("unsloth", "unsloth_zoo")
        or getattr(value, "_unsloth_cpu", False)
    )
