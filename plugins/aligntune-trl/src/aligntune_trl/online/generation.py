"""Complete prompts with transformers' ``generate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aligntune_core.errors import ConfigError
from aligntune_trl.quiet import known_warnings_hidden

BATCH = 8
"""Prompts completed at a time."""


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Any], max_new_tokens: int, temperature: float, top_p: float
) -> list[str]:
    """Complete each prompt.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        prompts: strings (a user's message, where the tokenizer has a chat template) or lists of messages.
        max_new_tokens: tokens to generate at most, per prompt.
        temperature: 0 is greedy.
        top_p: nucleus sampling, 0..1; without effect when greedy.

    Returns:
        list[str]: completions without their prompts and without special tokens.

    Raises:
        ConfigError: messages, but the tokenizer has no chat template.
    """
    texts = [render(tokenizer, prompt) for prompt in prompts]
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    completions: list[str] = []
    with known_warnings_hidden(), _ready(model):
        for start in range(0, len(texts), BATCH):
            completions += _complete(model, tokenizer, texts[start : start + BATCH], max_new_tokens, sampling)
    return completions


def render(tokenizer: Any, prompt: Any) -> str:
    """The text that the model continues."""
    templated = bool(getattr(tokenizer, "chat_template", None))
    if isinstance(prompt, str):
        if not templated:
            return prompt
        prompt = [{"role": "user", "content": prompt}]
    if not templated:
        raise ConfigError(
            "the tokenizer has no chat template, so messages cannot be rendered; pass prompts as strings"
        )
    text: str = tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
    return text


def _complete(
    model: Any, tokenizer: Any, texts: list[str], max_new_tokens: int, sampling: dict[str, Any]
) -> list[str]:
    import torch

    # A chat template writes its own special tokens; plain text gets those the tokenizer adds.
    plain = not getattr(tokenizer, "chat_template", None)
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=plain)
    finally:
        tokenizer.padding_side = side
    batch = batch.to(next(model.parameters()).device)
    with torch.no_grad():
        output = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            **sampling,
        )
    new = output[:, batch["input_ids"].shape[1] :]
    decoded: list[str] = tokenizer.batch_decode(new, skip_special_tokens=True)
    return decoded


@contextmanager
def _ready(model: Any) -> Iterator[None]:
    """Evaluation mode with the cache on; gradient checkpointing off, since it forbids the cache."""
    training = model.training
    checkpointing = bool(getattr(model, "is_gradient_checkpointing", False))
    model.eval()
    if checkpointing:
        model.gradient_checkpointing_disable()
    try:
        yield
    finally:
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train(training)
