"""Fold an adapter into its base, write the result, and believe it only after reading it back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from aligntune_core.toolkit import RunError, fold
from aligntune_trl.model import adapter

# Largest difference of logits between trained and written model, as a share of the logits' spread. A merge in float32
# changes the order of additions only; in bf16 and fp16 the merged weights themselves are rounded.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}


def save_merged(model: Any, tokenizer: Any, folder: Path, trainer: Any) -> None:
    """Write ``model``, with its adapter folded in where it has one, as a plain transformers model.

    Raises:
        RunError: the base is quantised, or the written model differs from the trained one.
    """
    if not adapter.is_adapted(model):
        trainer.save_model(str(folder))
        if trainer.is_world_process_zero():
            dtype = str(model.dtype).removeprefix("torch.")
            _compare(model, tokenizer, folder, type(model), TOLERANCE[dtype])
        return
    if getattr(model, "is_quantized", False):
        raise RunError(
            "save_model(merged=True): folding an adapter into 4-bit weights would round it away. Save the adapter with "
            "save_model(), load it with peft on the unquantised base and call merge_and_unload()"
        )
    if trainer.is_world_process_zero():
        merged = fold(_copy_on_cpu(model), safe_merge=True, adapter_names=[adapter.NAME])
        merged.save_pretrained(str(folder))
        dtype = str(merged.dtype).removeprefix("torch.")
        kind = type(merged)
        del merged
        _compare(model, tokenizer, folder, kind, TOLERANCE[dtype])


def _copy_on_cpu(model: Any) -> Any:
    """A copy in host memory, without a second one on the device on the way."""
    import torch

    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = torch.nn.Parameter(parameter.detach().to("cpu", copy=True), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("cpu", copy=True)
    clone = copy.deepcopy(model, memo)
    for name in [n for n in clone.peft_config if n != adapter.NAME]:
        clone.delete_adapter(name)
    return clone


def _compare(model: Any, tokenizer: Any, folder: Path, kind: Any, tolerance: float) -> None:
    """Raise unless the model in ``folder``, of class ``kind``, gives the trained model's logits."""
    import torch

    device = next(model.parameters()).device
    written = kind.from_pretrained(folder, dtype="auto").to(device).eval()
    ids = torch.arange(64, device=device).remainder(len(tokenizer)).view(4, 16)
    training = model.training
    model.eval()
    with torch.no_grad():
        logits, reread = (m(input_ids=ids, use_cache=False).logits.float() for m in (model, written))
    model.train(training)
    difference = ((logits - reread).abs().max() / logits.std()).item()
    if not difference <= tolerance:
        raise RunError(
            f"save_model(merged=True): the model written to {folder} differs from the trained one (logits by "
            f"{difference:.2e} of their spread, allowed {tolerance:.0e}). Do not use it; save the adapter: save_model()"
        )
