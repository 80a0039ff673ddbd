"""A language model small enough for tests: about 100,000 parameters, made in seconds, nothing downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL_TOKENS = ("<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")

# What the tokenizer learns its merges from: plain sentences, so that English takes fewer tokens than letters.
_CORPUS = (
    "The quick brown fox jumps over the lazy dog while the sun is setting behind the hills.",
    "What is the capital of France? The capital of France is Paris, a city on the river Seine.",
    "Write a short answer to the question. Explain the reason in one sentence, then give an example.",
    "Human: how do I bake bread? Assistant: mix flour, water, salt and yeast, and let it rest for an hour.",
    "user assistant system prompt completion chosen rejected instruction output input text",
    "Add two and three to get five. Take one from ten to get nine. 0 1 2 3 4 5 6 7 8 9",
)


def make_tokenizer(
    chat_template: str | None = CHAT_TEMPLATE, vocab_size: int = 470
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of ``vocab_size`` entries, the 256 bytes and special tokens among them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>" if chat_template else "<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=2048,
    )
    made.chat_template = chat_template
    return made


def make_config(tokenizer: Any, **changes: Any) -> Any:
    """The configuration of a Llama with two layers of width 64."""
    from transformers import LlamaConfig

    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**{**settings, **changes})


def make_tiny_model(path: Path, seed: int = 0, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Write a random Llama and its tokenizer to a folder, as safetensors; the caller's random state stays."""
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = make_tokenizer(chat_template)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(make_config(tokenizer))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
