"""Complete prompts with transformers' ``generate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aligntune_core import Sampling
from aligntune_core.toolkit import ConfigError
from aligntune_trl.quiet import known_warnings_hidden

BATCH = 8
"""Prompts completed at a time."""


def generate(model: Any, tokenizer: Any, prompts: Sequence[Any], sampling: Sampling) -> list[str]:
    """Complete each prompt.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        prompts: strings (a user's message, where the tokenizer has a chat template) or lists of messages.
        sampling: how completions are drawn; ``top_p`` is without effect where it is greedy.

    Returns:
        list[str]: completions without their prompts and without special tokens, ``sampling.n`` a prompt.

    Raises:
        ConfigError: messages, but the tokenizer has no chat template.
    """
    texts = [render(tokenizer, prompt) for prompt in prompts]
    completions: list[str] = []
    with known_warnings_hidden(), _ready(model), _seeded(sampling.seed):
        for start in range(0, len(texts), BATCH):
            completions += _complete(model, tokenizer, texts[start : start + BATCH], sampling)
    return completions


def generation_arguments(tokenizer: Any, sampling: Sampling) -> dict[str, Any]:
    """The same as arguments of transformers' ``generate``."""
    arguments: dict[str, Any] = {
        "max_new_tokens": sampling.max_new_tokens,
        "num_return_sequences": sampling.n,
        "do_sample": False,
        "temperature": None,
        "top_p": None,
        "top_k": None,
    }
    if sampling.temperature > 0:
        arguments |= {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
        }
    if sampling.stop:
        arguments |= {"stop_strings": list(sampling.stop), "tokenizer": tokenizer}
    return arguments


def until(text: str, stop: Sequence[str]) -> str:
    """A completion up to the first of the texts that end it."""
    return min((text.partition(end)[0] for end in stop), key=len, default=text)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw from ``seed`` inside; the generators of the run go on afterwards from where they were."""
    import torch

    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


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


def _complete(model: Any, tokenizer: Any, texts: list[str], sampling: Sampling) -> list[str]:
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
            pad_token_id=tokenizer.pad_token_id,
            **generation_arguments(tokenizer, sampling),
        )
    new = output[:, batch["input_ids"].shape[1] :]
    return [until(text, sampling.stop) for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


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
