"""The toy of ppo_against_trl.py: a Llama of about 5,000 weights over words, and a reward for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WORDS = ("<pad>", "<s>", "</s>", "the", "cat", "dog", "sat", "ran", "up", "down", "yes", "no")
PROMPTS = ("the cat", "the dog sat", "dog", "the cat ran up", "cat sat down", "the dog ran", "up", "cat")
YES = WORDS.index("yes")
LENGTH = 8


def tokenizer() -> Any:
    """One token a word, padded on the left."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **tokens)


def llama(seed: int, kind: str = "LlamaForCausalLM", **more: Any) -> Any:
    """A Llama of about 5,000 weights."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **more,
    )
    return getattr(transformers, kind)(config)


def policy(seed: int, adapter: bool) -> Any:
    """The policy, with a LoRA adapter whose B is 0 where one is asked for.

    It never samples <pad>, as a trained model would not: TRL takes that token for the end of a completion, we for a
    token like any other.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    model = llama(seed)
    head = torch.nn.Linear(16, len(WORDS))
    head.weight.data = model.lm_head.weight.data
    head.bias.data = torch.tensor([-30.0] + [0.0] * (len(WORDS) - 1))
    model.lm_head = head
    if not adapter:
        return model
    return get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )


def share_of_yes(prompts: Sequence[str], completions: Sequence[str], columns: Any) -> list[float]:
    """The reward: words "yes" in the completion, divided by the longest length it may have."""
    return [text.split().count("yes") / LENGTH for text in completions]


def share_module() -> Any:
    """The same reward as the reward model that TRL asks for."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    class Share(torch.nn.Module):  # type: ignore[misc]
        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone = self.count
            self.score = torch.nn.Identity()

        def count(self, input_ids: Any, attention_mask: Any, **ignored: Any) -> Any:
            share = ((input_ids == YES) & attention_mask.bool()).cumsum(1) / LENGTH
            return BaseModelOutput(hidden_states=(share.unsqueeze(-1).float(),))

    return Share()


def shared_value_module(model: Any) -> Any:
    """A value model for TRL whose backbone is the policy's own: what we do by default."""
    import torch

    class Shared(torch.nn.Module):  # type: ignore[misc]
        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone = (model.get_base_model() if hasattr(model, "get_base_model") else model).model
            self.score = torch.nn.Linear(16, 1)
            torch.nn.init.zeros_(self.score.weight)
            torch.nn.init.zeros_(self.score.bias)

    return Shared()
