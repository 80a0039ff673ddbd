"""Make a model folder, in a process of its own: ``python -m aligntune.demo.make tiny FOLDER`` or
``python -m aligntune.demo.make dequantise FILE.gguf FOLDER``.
"""

from __future__ import annotations

import sys
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


def main(arguments: list[str]) -> None:
    """Run one of the two."""
    match arguments:
        case ["tiny", folder]:
            from aligntune_core.testing.tiny import make_tiny_model

            make_tiny_model(Path(folder))
        case ["dequantise", source, folder]:
            dequantise(Path(source), Path(folder))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
