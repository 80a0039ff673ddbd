"""Arguments of the GRPO family: TRL's, and what TRL does not have."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from trl import GRPOConfig

from aligntune_core.toolkit import ConfigError, did_you_mean, listed


@dataclass
class GroupConfig(GRPOConfig):  # type: ignore[misc]  # trl is not analysed
    """TRL's arguments of GRPO with those of ``GroupTrainer``.

    Attributes:
        max_length: tokens of prompt and completion together; None: no limit.
        max_prompt_length: tokens of a prompt; None: what ``max_length`` leaves.
        log_completions_steps: steps between completions shown in the log.
        equal_rewards_alarm: steps in a row without any difference of rewards before a warning.
        overlong_punishment: weight of DAPO's soft overlong punishment; 0: none.
        overlong_cache: tokens before the limit in which it grows; None: a fifth of the limit.
        dynamic_sampling: draw other prompts in place of those whose completions all score alike.
        max_resampling: further draws for one batch.
        on_exhausted: "error" or "keep", when those draws are spent.
        generation: "transformers" or "vllm".
        vllm_options: values of TRL's own ``vllm_`` arguments.
    """

    max_length: int | None = None
    max_prompt_length: int | None = None
    log_completions_steps: int = 10
    equal_rewards_alarm: int = 10
    overlong_punishment: float = 0.0
    overlong_cache: int | None = None
    dynamic_sampling: bool = False
    max_resampling: int = 10
    on_exhausted: Literal["error", "keep"] = "error"
    generation: Literal["transformers", "vllm"] = "transformers"
    vllm_options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.generation == "vllm":
            self.use_vllm = True
            self._take_vllm_options()
        super().__post_init__()

    @property
    def prompt_limit(self) -> int | None:
        """Tokens a prompt may have; None: no limit."""
        if self.max_prompt_length is not None:
            return self.max_prompt_length
        return None if self.max_length is None else self.max_length - int(self.max_completion_length)

    def _take_vllm_options(self) -> None:
        known = [f.name for f in fields(GRPOConfig) if f.name.startswith("vllm_")]
        for name, value in (self.vllm_options or {}).items():
            if name not in known:
                raise ConfigError(
                    f"vllm_options: TRL has no {name}.{did_you_mean(name, known)} It has {listed(known)}"
                )
            setattr(self, name, value)
