"""A few completions of the model as it is now, for ``aligntune reward check``. Heavy: loads the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aligntune_core.rewards.text import TextOrMessages

if TYPE_CHECKING:
    from aligntune_core.config.schema.sections import ModelConfig


def sample_completions(
    model: ModelConfig,
    tokenizer: Any,
    prompts: Sequence[TextOrMessages],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """Complete each prompt once, as an online algorithm would.

    The model is loaded as it lies on disk, without quantising it, on CUDA where there is one.

    Args:
        model: hub id, folder, adapter folder, or a model in memory.
        tokenizer: the model's, with a chat template where prompts are conversations.
        prompts: strings or message lists.
        max_new_tokens: tokens a completion may have.
        temperature: sampling temperature.
        top_p: nucleus, 0..1.
        seed: of the draw.

    Returns:
        list[str]: the completions, special tokens left out.
    """
    import torch

    policy = _load(model)
    ends = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    found = []
    torch.manual_seed(seed)
    for prompt in prompts:
        if isinstance(prompt, str):
            inputs = tokenizer(prompt, return_tensors="pt")
        else:
            inputs = tokenizer.apply_chat_template(
                list(prompt), add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        ids = inputs["input_ids"].to(policy.device)
        with torch.inference_mode():
            out = policy.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=temperature,
                top_p=top_p,
                top_k=0,
                max_new_tokens=max_new_tokens,
                pad_token_id=ends,
            )
        found.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return found


def _load(model: ModelConfig) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from aligntune_core.model.device import torch_device

    policy = model.name
    if isinstance(policy, str):
        device = torch_device().kind
        policy = AutoModelForCausalLM.from_pretrained(  # an adapter folder too, with its base
            policy,
            revision=model.revision,
            token=model.token.get_secret_value() if model.token else None,
            trust_remote_code=model.trust_remote_code,
            attn_implementation=model.attn_implementation,
            dtype=torch.float32 if device == "cpu" else "auto",
        ).to(device)
    return policy.eval()
