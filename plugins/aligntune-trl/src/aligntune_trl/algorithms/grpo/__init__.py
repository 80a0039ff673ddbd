"""The GRPO family on TRL's GRPOTrainer; its other members are this recipe with their own parameters."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from aligntune_core.toolkit import Argument, world
from aligntune_trl.algorithms.recipe import NO_ROUTER_LOSS, Figure, Recipe


def _share(steps: int | None) -> int | None:
    """Ours counts for the whole run, as the accumulation does."""
    return None if steps is None else steps // world().world_size


def _whole(steps: int) -> int:
    return steps * world().world_size


def problems(config: Any) -> Iterator[str]:
    """A generator that is not installed, and draws that the processes cannot share."""
    parameters, processes = config.parameters, world().world_size
    if parameters.generation == "vllm" and find_spec("vllm") is None:
        yield (
            'generation="vllm" needs the vllm package, which is not installed here: pip install vllm, or leave '
            "generation out"
        )
    steps = parameters.steps_per_generation
    if steps is not None and steps % processes and not config.optim.gradient_accumulation_steps % processes:
        near = [n for n in (steps // processes * processes, -(-steps // processes) * processes) if n]
        yield f"steps_per_generation: {processes} processes do not divide {steps}: take {' or '.join(map(str, near))}"


GRPO = Recipe(
    name="grpo",
    arguments="aligntune_trl.algorithms.grpo.config:GroupConfig",
    fixed={
        "remove_unused_columns": False,  # rewards read the other columns
        "sapo_temperature_neg": 1.05,
        "sapo_temperature_pos": 1.0,
        "vespo_k_pos": 2.0,
        "vespo_lambda_pos": 3.0,
        "vespo_k_neg": 3.0,
        "vespo_lambda_neg": 2.0,
        "entropy_coef": 0.0,
        "use_adaptive_entropy": False,
        "off_policy_mask_threshold": None,
        "cast_lm_head_to_fp32": False,
        **NO_ROUTER_LOSS,
        "cache_implementation": None,
        "use_transformers_continuous_batching": False,
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": "sequence_mask",
        "vllm_importance_sampling_clip_max": 3.0,
        "vllm_importance_sampling_clip_min": None,
    },
    own=(Argument("parameters.steps_per_generation", "args", "steps_per_generation", _share, _whole),),
    figures={name: Figure(name) for name in ("reward", "kl", "completion_length", "truncated")},
    copies_policy=False,
    problems=problems,
    build="aligntune_trl.algorithms.grpo.build:build",
)
