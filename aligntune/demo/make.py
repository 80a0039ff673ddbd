"""Make a model folder. Imports torch and transformers, so a process of its own calls it."""

from __future__ import annotations

from pathlib import Path


def dequantise(source: Path, folder: Path) -> None:
    """Write the model of a GGUF file as bfloat16 safetensors with its tokenizer.

    bfloat16 is what the model was published in; the held-out loss of the unpacked model is the same to 1e-3 in float32,
    which would take twice the room.

    Args:
        source: the GGUF file.
        folder: to make.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    # Without dequantize the blocks stay packed, and saving them is refused.
    model = AutoModelForCausalLM.from_pretrained(
        **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    for role in ("bos", "eos", "pad"):  # some versions of transformers read them wrongly into the tokenizer
        number = getattr(model.config, f"{role}_token_id")
        setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(number))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tiny(folder: Path) -> None:
    """Write a random Llama of about 100,000 parameters with a tokenizer and a chat template."""
    from aligntune_core.testing.tiny import make_tiny_model

    make_tiny_model(folder)
