"""A sequence-classification model as a reward.

It has its own tokenizer: what the policy wrote reaches it as text. Conversations are rendered by its chat template;
plain text is prompt and completion joined, closed by the end-of-text token, as TRL's RewardTrainer trains on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from aligntune_core.errors import ConfigError
from aligntune_core.rewards.text import TextOrMessages, completion_text, content_text, conversation

_log = logging.getLogger("aligntune.rewards")

# Tokenizers without a limit of their own state 1e30.
_NO_LIMIT = 10**8


class RewardModel:
    """A sequence-classification model with one output, and its tokenizer.

    Light until ``load``, which the first score calls.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        batch_size: int = 8,
        max_length: int | None = None,
        device: Any = None,
        dtype: str = "auto",
        revision: str | None = None,
        token: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        """Say what to load.

        Args:
            model: folder or hub id of a model or of a LoRA adapter with a trained head, or a torch module.
            tokenizer: folder, hub id or a tokenizer; by default the model's own.
            batch_size: texts a forward pass; default 8.
            max_length: tokens a text may have; longer ones lose their beginning. Default: the model's own limit.
            device: where it runs; default CUDA where there is one.
            dtype: "float32", "bfloat16", "float16" or "auto": float32 on a CPU, else the checkpoint's own.
            revision: branch, tag or commit on the hub.
            token: hub access token.
            trust_remote_code: run the code that the repository ships.

        Raises:
            ConfigError: batch_size or max_length below 1.
        """
        for name, value in (("batch_size", batch_size), ("max_length", max_length)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"reward model: {name} must be a whole number of at least 1, not {value!r}")
        self.label = model if isinstance(model, str) else type(model).__name__
        self.batch_size, self.max_length, self.device, self.dtype = batch_size, max_length, device, dtype
        self._given, self._given_tokenizer = model, tokenizer
        self._hub: dict[str, Any] = {
            "revision": revision,
            "token": token,
            "trust_remote_code": trust_remote_code,
        }
        self._loaded = False
        self._said_plain = False
        self.model: Any = None
        self.tokenizer: Any = None

    def __repr__(self) -> str:
        return f"RewardModel({self.label!r})"

    def check(self) -> None:
        """Judge by name and configuration, before any weights are read. A hub id costs one question to the hub.

        Raises:
            ConfigError: it is not there, or is no reward model.
        """
        if isinstance(self._given, str):
            from aligntune_core.rewards import checkpoint

            checkpoint.check_name(self._given, self._hub)
        if isinstance(self._given_tokenizer, str):
            from aligntune_core.model.source import check_source

            check_source(self._given_tokenizer, self._hub["revision"], self._hub["token"])

    def load(self) -> None:
        """Read tokenizer and weights; does nothing the second time.

        Raises:
            ConfigError: no reward model: not one output, a head that was never trained, no tokenizer.
            OSError: transformers does not find the folder or the hub id.
        """
        if self._loaded:
            return
        import torch

        from aligntune_core.model.device import torch_device
        from aligntune_core.rewards import checkpoint

        device = torch.device(self.device or torch_device().kind)
        if isinstance(self._given, str):
            dtype = "float32" if self.dtype == "auto" and device.type == "cpu" else self.dtype
            self.model = checkpoint.load_classifier(self._given, dtype, self._hub).to(device)
        else:
            checkpoint.check_outputs(self._given.config, self.label)
            self.model = self._given.to(device)
        self.model.eval()
        self.tokenizer = checkpoint.load_tokenizer(self._given_tokenizer, self._given, self._hub)
        if self.model.config.get_text_config().pad_token_id is None:
            # The head reads the last token that is no padding, so the model has to know which one pads.
            self.model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id
        self.max_length = self._limit()
        self._loaded = True

    def score(self, prompts: Sequence[TextOrMessages], completions: Sequence[TextOrMessages]) -> list[float]:
        """The model's output for each prompt with its completion.

        Args:
            prompts: strings or message lists.
            completions: strings or message lists.

        Returns:
            list[float]: raw logits, one a sample, in their order.
        """
        import torch

        self.load()
        texts = [self.render(p, c) for p, c in zip(prompts, completions, strict=True)]
        scores = [0.0] * len(texts)
        longest_first = sorted(range(len(texts)), key=lambda i: -len(texts[i][0]))  # less padding
        with torch.inference_mode():
            for start in range(0, len(texts), self.batch_size):
                chosen = longest_first[start : start + self.batch_size]
                inputs = self._inputs([texts[i] for i in chosen])
                for index, value in zip(
                    chosen, self.model(**inputs).logits[:, 0].float().tolist(), strict=True
                ):
                    scores[index] = value
        return scores

    def render(self, prompt: TextOrMessages, completion: TextOrMessages) -> tuple[str, bool]:
        """The text that the model reads, and whether the tokenizer still has to add its special tokens."""
        messages = conversation(prompt, completion)
        if messages is not None and self.tokenizer.chat_template:
            return self.tokenizer.apply_chat_template(messages, tokenize=False), False
        if messages is not None:
            if not self._said_plain:
                _log.warning(
                    "reward model %s has no chat template: messages are joined by newlines", self.label
                )
                self._said_plain = True
            text = "\n".join(content_text(m.get("content")) for m in messages)
        else:
            text = f"{prompt}{completion_text(completion)}"
        end = self.tokenizer.eos_token or ""
        return text if text.endswith(end) else text + end, True

    def _inputs(self, texts: Sequence[tuple[str, bool]]) -> Any:
        encoded = [
            self.tokenizer(
                text,
                add_special_tokens=special,
                truncation=self.max_length is not None,
                max_length=self.max_length,
            )["input_ids"]
            for text, special in texts
        ]
        padded = self.tokenizer.pad({"input_ids": encoded}, padding_side="right", return_tensors="pt")
        return {name: padded[name].to(self.model.device) for name in ("input_ids", "attention_mask")}

    def _limit(self) -> int | None:
        limits = [
            self.max_length,
            self.tokenizer.model_max_length,
            getattr(self.model.config.get_text_config(), "max_position_embeddings", None),
        ]
        stated = [n for n in limits if isinstance(n, int) and 0 < n < _NO_LIMIT]
        return min(stated, default=None)
