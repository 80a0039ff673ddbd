"""What this backend trains and honours. Light."""

from __future__ import annotations

from aligntune_trl.table import HONOURS as TRL_HONOURS

ALGORITHMS = ("sft", "dpo", "ppo", "grpo", "dapo", "dr_grpo", "reward")
"""Those whose trainers of aligntune-trl have been run on Unsloth's models."""

# Unsloth chooses the attention kernel and brings fused kernels, compilation and offloading of its own.
ITS_OWN = frozenset(
    {
        "model.attn_implementation",
        "optim.use_liger_kernel",
        "optim.torch_compile",
        "optim.activation_offloading",
    }
)

HONOURS = TRL_HONOURS - ITS_OWN

NAMES = {"gspo": "GSPO"}


def refusal(algorithm: str) -> str | None:
    """Why ``algorithm`` is not trained here, or None where it is."""
    if algorithm in ALGORITHMS:
        return None
    return f'aligntune-unsloth does not offer {NAMES.get(algorithm, algorithm)}; use backend="trl"'
