"""A sequence-classification model as a reward: scoring with it, reading it, and refusing what is none.

It has its own tokenizer, so the policy's completions reach it as text. Conversations are rendered by its chat template;
plain text is prompt and completion joined, closed by the end-of-text token, as TRL's RewardTrainer trains on.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligntune_core.errors import ConfigError
from aligntune_core.model.source import adapter_config, check_base, check_folder, check_source
from aligntune_core.model.tokenizer import own_tokenizer
from aligntune_core.rewards.batch import Samples, checked
from aligntune_core.rewards.text import TextOrMessages, completion_text, content_text, conversation
from aligntune_core.wording import listed

_log = logging.getLogger("aligntune.rewards")

# Tokenizers without a limit of their own state 1e30.
_NO_LIMIT = 10**8

_HOW = 'Train one with algorithm="reward", or name a sequence-classification model with one output'


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
        """Store what to load.

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
        self._source, self._tokenizer_source = model, tokenizer
        self._hub: dict[str, Any] = {"revision": revision, "token": token}
        self._hub["trust_remote_code"] = trust_remote_code
        self._loaded = False
        self._warned_of_template = False
        self.model: Any = None
        self.tokenizer: Any = None

    def __repr__(self) -> str:
        return f"RewardModel({self.label!r})"

    def check(self) -> None:
        """Judge the model by name and configuration, before weights are read. A hub id costs one request to the hub.

        Raises:
            ConfigError: it is not there, or is no reward model.
        """
        if isinstance(self._source, str):
            _check_name(self._source, self._hub)
        if isinstance(self._tokenizer_source, str):
            check_source(self._tokenizer_source, self._hub["revision"], self._hub["token"])

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

        device = torch.device(self.device or torch_device().kind)
        if isinstance(self._source, str):
            dtype = "float32" if self.dtype == "auto" and device.type == "cpu" else self.dtype
            self.model = _load_classifier(self._source, dtype, self._hub).to(device)
        else:
            _check_outputs(self._source.config, self.label)
            self.model = self._source.to(device)
        self.model.eval()
        self.tokenizer = _load_tokenizer(self._tokenizer_source, self._source, self._hub)
        if self.model.config.get_text_config().pad_token_id is None:
            # The head reads the last token that is no padding, so the model has to know which one pads.
            self.model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id
        self.max_length = self._limit()
        self._loaded = True

    def score(self, prompts: Sequence[TextOrMessages], completions: Sequence[TextOrMessages]) -> list[float]:
        """The model's output for each prompt with its completion: raw logits, in the order of the samples."""
        import torch

        self.load()
        texts = [self.render(p, c) for p, c in zip(prompts, completions, strict=True)]
        scores = [0.0] * len(texts)
        longest_first = sorted(range(len(texts)), key=lambda i: -len(texts[i][0]))  # less padding
        with torch.inference_mode():
            for start in range(0, len(texts), self.batch_size):
                indices = longest_first[start : start + self.batch_size]
                inputs = self._inputs([texts[i] for i in indices])
                logits = self.model(**inputs).logits[:, 0].float().tolist()
                for index, value in zip(indices, logits, strict=True):
                    scores[index] = value
        return scores

    def render(self, prompt: TextOrMessages, completion: TextOrMessages) -> tuple[str, bool]:
        """The text that the model reads, and whether the tokenizer still has to add its special tokens."""
        messages = conversation(prompt, completion)
        if messages is not None and self.tokenizer.chat_template:
            return self.tokenizer.apply_chat_template(messages, tokenize=False), False
        if messages is not None:
            if not self._warned_of_template:
                _log.warning(
                    "reward model %s has no chat template: messages are joined by newlines", self.label
                )
                self._warned_of_template = True
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
        finite = [n for n in limits if isinstance(n, int) and 0 < n < _NO_LIMIT]
        return min(finite, default=None)


@dataclass(frozen=True)
class ModelReward:
    """A reward model as a reward."""

    name: str
    model: RewardModel
    weight: float = 1.0
    wants_tokens: bool = False
    reads_reference: bool = False

    def load(self) -> None:
        """Read the weights."""
        try:
            self.model.load()
        except Exception as error:
            error.add_note(f'reward "{self.name}" could not be loaded from {self.model.label}')
            raise

    def score(self, batch: Samples) -> list[float]:
        """The model's output for each sample."""
        self.load()
        return checked(self.name, self.model.score(batch.prompts, batch.completions), batch)


# --- checkpoints of reward models ------------------------------------------------------------------------------------


def _load_classifier(name: str, dtype: str, hub: dict[str, Any]) -> Any:
    """Load a model with one output, or a LoRA adapter on one with its adapter merged in."""
    if (adapter := adapter_config(name)) is not None:
        return _load_adapter(name, str(adapter.get("base_model_name_or_path")), dtype, hub)
    from transformers import AutoConfig

    _check_outputs(AutoConfig.from_pretrained(name, **hub), name)
    model, missing = _load(name, dtype, hub)
    if missing:
        raise ConfigError(f"{name} is no reward model: its checkpoint lacks {listed(missing)}. {_HOW}.")
    return model


def _check_name(name: str, hub: dict[str, Any]) -> None:
    """Refuse a name that leads nowhere, or to no reward model by its configuration; no weights are read."""
    check_source(name, hub["revision"], hub["token"])
    if os.path.isdir(name):
        check_folder(Path(name))
        if (adapter := adapter_config(name)) is not None:  # its head is in its weights
            base = str(adapter.get("base_model_name_or_path") or "")
            check_base(name, base)
            check_source(base or None)
            return
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name, **hub)
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f'the configuration of "{name}" cannot be read: {reason}') from error
    _check_outputs(config, name)


def _check_outputs(config: Any, name: str) -> None:
    if config.num_labels != 1:
        made_for = listed(config.architectures or ())
        raise ConfigError(
            f"{name} is no reward model: its head has {config.num_labels} outputs (the checkpoint was made for "
            f"{made_for}), a reward has 1. {_HOW}."
        )


def _load_tokenizer(spec: Any, model: Any, hub: dict[str, Any]) -> Any:
    """The tokenizer, a named one or the reward model's own, with a padding token, cutting at the start."""
    from transformers import AutoTokenizer

    if spec is not None and not isinstance(spec, str):
        tokenizer = spec
    else:
        source = spec or (model if isinstance(model, str) else getattr(model.config, "_name_or_path", ""))
        if not source:
            raise ConfigError(
                "the tokenizer of a reward model in memory is not known: give RewardModel(model, tokenizer=...) from "
                "aligntune_core.rewards"
            )
        source, revision = own_tokenizer(source, hub["revision"])
        tokenizer = AutoTokenizer.from_pretrained(source, **{**hub, "revision": revision})
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ConfigError("the reward model's tokenizer has neither a padding nor an end-of-text token")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.truncation_side = "left"  # the completion, at the end, is what is judged
    return tokenizer


def _load(name: str, dtype: str, hub: dict[str, Any]) -> tuple[Any, list[str]]:
    """A model with one output, and the names of weights that its checkpoint did not have."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of missing weights: the caller judges them
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            name, num_labels=1, dtype=dtype, output_loading_info=True, **hub
        )
    finally:
        logging.set_verbosity(verbosity)
    return model, sorted(info["missing_keys"])


def _load_adapter(folder: str, base: str, dtype: str, hub: dict[str, Any]) -> Any:
    from peft import PeftModel, load_peft_weights

    # The revision is the adapter's, not its base model's.
    model, missing = _load(base, dtype, {**hub, "revision": None})
    saved = list(load_peft_weights(folder, device="cpu"))
    lacking = [name for name in missing if not any(key.endswith(name) for key in saved)]
    if lacking:
        raise ConfigError(
            f"{folder} is no reward model: neither this adapter nor its base has trained weights for "
            f"{listed(lacking)}. {_HOW}."
        )
    with warnings.catch_warnings():  # peft still asks for an attribute by its old name
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        return PeftModel.from_pretrained(model, folder).merge_and_unload()
