"""Rollouts: prompts in, sampled completions out, with everything about them that does not need a gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from aligntune_core.toolkit import RunError
from aligntune_trl.algorithms.ppo.config import PPOConfig
from aligntune_trl.algorithms.ppo.value_head import Sequences


@dataclass(frozen=True)
class Completions:
    """Sampled completions of one rollout.

    Attributes:
        sequences: prompts with completions, padded.
        lengths: (rows,) sampled tokens, the one that ends the completion included.
        finished: (rows,) whether the completion ended by itself.
        texts: decoded, without special tokens.
    """

    sequences: Sequences
    lengths: Tensor
    finished: Tensor
    texts: list[str]

    @property
    def mask(self) -> Tensor:
        """(rows, states) True at sampled tokens."""
        return self._columns < self.lengths.unsqueeze(1)

    @property
    def state_mask(self) -> Tensor:
        """(rows, states) True at sampled tokens and in the state after the last one, where there is a column for it."""
        return self._columns <= self.lengths.unsqueeze(1)

    def token_lists(self) -> list[list[int]]:
        """The sampled tokens of each row."""
        rows = zip(self.sequences.completion_ids.tolist(), self.lengths.tolist(), strict=True)
        return [tokens[:length] for tokens, length in rows]

    @property
    def _columns(self) -> Tensor:
        return torch.arange(self.sequences.completion_ids.shape[1], device=self.lengths.device).unsqueeze(0)


def end_tokens(policy: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a completion: the tokenizer's and all that the model's generation settings name.

    Raises:
        ValueError: there is none.
    """
    named = getattr(policy.generation_config, "eos_token_id", None)
    tokens = [*(named if isinstance(named, (list, tuple)) else [named]), tokenizer.eos_token_id]
    ends = sorted({int(token) for token in tokens if token is not None})
    if not ends:
        raise ValueError("the tokenizer has no eos token: no completion could end; set tokenizer.eos_token")
    return ends


class Sampler:
    """Draws completions with transformers' ``generate``.

    Args:
        tokenizer: the policy's.
        args: lengths and sampling settings.
        eos_token_ids: tokens that end a completion.
    """

    def __init__(self, tokenizer: Any, args: PPOConfig, eos_token_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._args = args
        self._eos = list(eos_token_ids)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._eos[0]
        self._config = GenerationConfig(
            **{
                "max_new_tokens": args.max_completion_length,
                "do_sample": True,
                "temperature": args.temperature,
                "top_p": args.top_p,
                "top_k": args.top_k,
                "min_p": args.min_p,
                "repetition_penalty": args.repetition_penalty,
                "pad_token_id": self._pad,
                "eos_token_id": self._eos,
                "bos_token_id": tokenizer.bos_token_id,
                "use_cache": True,
                **(args.generation_kwargs or {}),
            }
        )

    def encode(self, prompts: Sequence[Any], device: torch.device) -> tuple[Tensor, Tensor]:
        """Tokens and attention mask of prompts (strings or message lists), left-padded to the longest.

        Raises:
            RunError: a prompt has no token, or more than it may have: nothing is cut in silence.
        """
        encoded = [self._tokens(prompt) for prompt in prompts]
        multiple = self._args.pad_to_multiple_of or 1
        width = -(-max(map(len, encoded)) // multiple) * multiple
        ids = torch.full((len(encoded), width), self._pad)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
            mask[row, width - len(tokens) :] = 1
        return ids.to(device), mask.to(device)

    def _tokens(self, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            tokens = list(self._tokenizer(prompt)["input_ids"])
        else:
            answering = prompt[-1]["role"] != "assistant"
            tokens = list(
                self._tokenizer.apply_chat_template(
                    prompt,
                    add_generation_prompt=answering,
                    continue_final_message=not answering,
                    tokenize=True,
                    return_dict=True,
                )["input_ids"]
            )
        limit = self._args.prompt_limit
        if not tokens:
            raise RunError("a prompt without a single token cannot be completed; give it text or a bos token")
        if limit is not None and len(tokens) > limit:
            raise RunError(
                f"a prompt has {len(tokens)} tokens, {limit} are allowed: raise max_prompt_length or "
                f'max_seq_length, or leave long prompts out with on_bad_rows="drop". It is {str(prompt)[:200]!r}'
            )
        return tokens

    def sample(self, policy: Any, prompts: Sequence[Any], device: torch.device) -> Completions:
        """Draw one completion a prompt. Call without gradients and in evaluation mode."""
        ids, mask = self.encode(prompts, device)
        size = self._args.rollout_batch_size or len(ids)
        drawn: list[Tensor] = []
        with only_these_settings(policy, self._config):
            for start in range(0, len(ids), size):
                part = slice(start, start + size)
                output = policy.generate(
                    input_ids=ids[part], attention_mask=mask[part], generation_config=self._config
                )
                drawn.extend(output[:, ids.shape[1] :])
        return self.complete(ids, mask, drawn)

    def complete(self, prompt_ids: Tensor, prompt_mask: Tensor, drawn: Sequence[Tensor]) -> Completions:
        """Put prompts and drawn tokens (one tensor a row, anything after the first end token ignored) together."""
        limit = self._args.max_completion_length
        lengths, finished = [], []
        for tokens in drawn:
            ends = torch.isin(tokens, torch.tensor(self._eos, device=tokens.device)).nonzero()
            finished.append(len(ends) > 0)
            lengths.append(int(ends[0]) + 1 if len(ends) else len(tokens))
        longest = max(lengths)
        states = min(longest + 1, limit)
        completion = torch.full((len(drawn), states), self._pad, device=prompt_ids.device)
        for row, (tokens, length) in enumerate(zip(drawn, lengths, strict=True)):
            completion[row, :length] = tokens[:length]
        size = torch.tensor(lengths, device=prompt_ids.device)
        attended = torch.arange(longest, device=prompt_ids.device).unsqueeze(0) < size.unsqueeze(1)
        texts = self._tokenizer.batch_decode(
            [tokens[:length] for tokens, length in zip(drawn, lengths, strict=True)], skip_special_tokens=True
        )
        sequences = Sequences(
            input_ids=torch.cat([prompt_ids, completion[:, :longest]], dim=1),
            attention_mask=torch.cat([prompt_mask, attended.long()], dim=1),
            completion_ids=completion,
            prompt_length=prompt_ids.shape[1],
        )
        return Completions(sequences, size, torch.tensor(finished, device=prompt_ids.device), texts)


@contextmanager
def only_these_settings(policy: nn.Module, config: GenerationConfig) -> Iterator[None]:
    """Hide the model's own generation settings.

    A hub model's repetition penalty, say, would otherwise fill in what ``config`` leaves open and skew the sampling
    distribution that the importance ratio assumes.
    """
    base = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
    owners = [policy] if base is policy else [policy, base]
    kept = [owner.generation_config for owner in owners]
    for owner in owners:
        owner.generation_config = GenerationConfig(
            pad_token_id=config.pad_token_id,
            eos_token_id=config.eos_token_id,
            bos_token_id=config.bos_token_id,
        )
    try:
        yield
    finally:
        for owner, settings in zip(owners, kept, strict=True):
            owner.generation_config = settings


def answers(prompts: Sequence[Any], texts: Sequence[str]) -> list[Any]:
    """Completions in the shape of their prompts: text, or a list with one assistant message."""
    return [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, texts, strict=True)
    ]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The rows' columns but ``prompt``, for the reward functions."""
    names = [name for name in rows[0] if name != "prompt"]
    return {name: [row[name] for row in rows] for name in names}
