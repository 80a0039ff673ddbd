"""Parameters of every algorithm that generates completions and scores them."""

from __future__ import annotations

from typing import Any

from aligntune_core.fields import Section, option


class Generation(Section):
    """Parameters for drawing completions."""

    max_prompt_length: int | None = option(
        "tokens a prompt may have", None, ge=1, off="max_seq_length less max_completion_length"
    )
    max_completion_length: int = option(
        "tokens a completion may have", 512, aliases=("response_length", "max_new_tokens"), ge=1, source="TRL"
    )
    temperature: float = option("sampling temperature", 1.0, gt=0, source="TRL")
    top_p: float = option("nucleus: smallest set of tokens with this probability, 0..1", 1.0, gt=0, le=1)
    top_k: int = option("draw from the k likeliest tokens; 0: from all", 0, ge=0, neutral=(0,))
    min_p: float | None = option(
        "least probability, as a share of the likeliest token's, 0..1", None, ge=0, le=1, off="none"
    )
    repetition_penalty: float = option("above 1: repeated tokens become less likely", 1.0, gt=0)
    generation_kwargs: dict[str, Any] | None = option(
        "more arguments of transformers' GenerationConfig", None, off="none"
    )
    disable_dropout: bool = option("switch dropout off", False, source="TRL")
    log_completions: bool = option(
        "write completions with their rewards to samples.jsonl, and show some in the log", True
    )
    log_completions_steps: int = option(
        "steps between completions shown in the log", 10, ge=1, needs="log_completions"
    )
    equal_rewards_alarm: int = option(
        "steps in a row in which no reward differs from another of its group, before a warning", 10, ge=1
    )
