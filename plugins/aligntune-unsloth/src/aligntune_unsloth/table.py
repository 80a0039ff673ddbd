"""What this backend honours, and peft's settings by Unsloth's names. Light."""

from __future__ import annotations

from aligntune_trl import api

# Unsloth chooses the attention kernel and brings fused kernels, compilation, offloading and checkpointing of its own.
ITS_OWN = frozenset(
    {
        "model.attn_implementation",
        "optim.use_liger_kernel",
        "optim.torch_compile",
        "optim.activation_offloading",
        "optim.gradient_checkpointing_kwargs",
    }
)

HONOURS = api.HONOURS - ITS_OWN

LORA = tuple(str(argument.name) for argument in api.TABLE if argument.part == "lora")
"""Fields of peft's LoraConfig that the table writes; ``get_peft_model`` takes each under the same name."""
