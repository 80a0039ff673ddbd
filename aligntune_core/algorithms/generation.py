"""Parameters of every algorithm that generates completions and scores them."""

from __future__ import annotations

from typing import Annotated, Any

from aligntune_core.fields import Section, option


class Generation(Section):
    """Parameters for drawing completions."""

    max_prompt_length: Annotated[
        int | None, option("tokens a prompt may have", ge=1, off="max_seq_length less max_completion_length")
    ] = None
    max_completion_length: Annotated[
        int,
        option(
            "tokens a completion may have", aliases=("response_length", "max_new_tokens"), ge=1, source="TRL"
        ),
    ] = 512
    temperature: Annotated[float, option("sampling temperature", gt=0, source="TRL")] = 1.0
    top_p: Annotated[
        float, option("nucleus: smallest set of tokens with this probability, 0..1", gt=0, le=1)
    ] = 1.0
    top_k: Annotated[int, option("draw from the k likeliest tokens; 0: from all", ge=0, neutral=(0,))] = 0
    min_p: Annotated[
        float | None,
        option("least probability, as a share of the likeliest token's, 0..1", ge=0, le=1, off="none"),
    ] = None
    repetition_penalty: Annotated[float, option("above 1: repeated tokens become less likely", gt=0)] = 1.0
    generation_kwargs: Annotated[
        dict[str, Any] | None, option("more arguments of transformers' GenerationConfig", off="none")
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, option("more arguments of the chat template", off="none")
    ] = None
    disable_dropout: Annotated[bool, option("switch dropout off", source="TRL")] = False
    log_completions: Annotated[
        bool, option("write completions with their rewards to samples.jsonl, and show some in the log")
    ] = True
    log_completions_steps: Annotated[
        int, option("steps between completions shown in the log", ge=1, needs="log_completions")
    ] = 10
    equal_rewards_alarm: Annotated[
        int,
        option("steps in a row in which no reward differs from another of its group, before a warning", ge=1),
    ] = 10
