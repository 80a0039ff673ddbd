"""The library by hand beside the backend, in one process, in turns: what aligntune costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu_jobs import COMMON, LONG, SHORT, WARM, Stopwatch, build, rows

ALGORITHMS = ("sft", "dpo")
WINDOWS, WINDOW = 5, 20


@dataclass(frozen=True)
class Pairing:
    """The setting of a pair: rows a batch, median words, steps a window, number format, recomputation."""

    batch: dict[str, int]
    words: tuple[int, int]
    window: int
    precision: str
    checkpointing: bool


ON_GPU = Pairing({"sft": 24, "dpo": 12}, LONG, WINDOW, "bf16", checkpointing=True)
ON_HOST = Pairing({"sft": 1, "dpo": 1}, SHORT, 5 * WINDOW, "fp32", checkpointing=False)


def pairing() -> Pairing:
    """That of the device which is here."""
    import torch

    return ON_GPU if torch.cuda.is_available() else ON_HOST


def by_hand(backend: str, algorithm: str, model: Path, output: Path) -> Any:
    """The same run as its users write it: TRL, or TRL's classes after ``import unsloth`` on a FastLanguageModel.

    TRL is given the model and a ``LoraConfig``: it then takes DPO's reference from the model without its adapter. Of a
    model that comes with an adapter, as Unsloth's users give it, it copies the adapter and runs the copy.
    """
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config, trainer = {"sft": (trl.SFTConfig, trl.SFTTrainer), "dpo": (trl.DPOConfig, trl.DPOTrainer)}[
        algorithm
    ]
    on = pairing()
    dtype = torch.bfloat16 if on.precision == "bf16" else torch.float32
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = None
    if backend == "unsloth":
        from unsloth import FastLanguageModel

        policy, _ = FastLanguageModel.from_pretrained(
            str(model),
            max_seq_length=1024,
            dtype=dtype,
            load_in_4bit=False,
            use_gradient_checkpointing=on.checkpointing,
        )
        policy = FastLanguageModel.get_peft_model(
            policy,
            r=16,
            lora_alpha=32,
            target_modules=names,
            use_gradient_checkpointing=on.checkpointing,
            random_state=42,
        )
    else:
        policy = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        lora = LoraConfig(r=16, lora_alpha=32, target_modules=names, task_type="CAUSAL_LM")
    args = config(
        output_dir=str(output),
        max_steps=WARM + on.window,
        per_device_train_batch_size=on.batch[algorithm],
        gradient_accumulation_steps=1,
        learning_rate=COMMON["learning_rate"],
        optim="adamw_torch",
        weight_decay=0.0,
        warmup_steps=0,
        max_length=1024,
        bf16=on.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=on.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if on.checkpointing else None,
        padding_free=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=42,
    )
    return trainer(
        model=policy,
        args=args,
        train_dataset=Dataset.from_list(rows(algorithm, words=on.words)),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=lora,
    )


def resident(trainer: Any) -> int:
    """Bytes of weights and optimiser state that a trainer keeps on the device."""
    weights = {p.data_ptr(): p.numel() * p.element_size() for p in trainer.model.parameters() if p.is_cuda}
    states = [
        t for state in trainer.optimizer.state.values() for t in state.values() if hasattr(t, "is_cuda")
    ]
    return int(sum(weights.values()) + sum(t.numel() * t.element_size() for t in states if t.is_cuda))


def measure_pair(backend: str, algorithm: str, model: Path, folder: Path) -> dict[str, Any]:
    on = pairing()
    more = {
        "dataset_name": rows(algorithm, words=on.words),
        "batch_size": on.batch[algorithm],
        "max_steps": WARM + on.window,
        "precision": on.precision,
        "gradient_checkpointing": on.checkpointing,
    }
    ours = build(backend, algorithm, model, folder / f"pair-{algorithm}", **more)
    raw = by_hand(backend, algorithm, model, folder / f"raw-{algorithm}")
    sides: dict[str, tuple[Any, Callable[[], Any]]] = {
        "raw": (raw, raw.train),
        "ours": (ours.native, ours.train),
    }
    watches = {side: Stopwatch(native) for side, (native, _) in sides.items()}
    windows: dict[str, list[dict[str, Any]]] = {"raw": [], "ours": []}
    for number in range(WINDOWS):
        # In turns, so that neither is always the second.
        for side in ("raw", "ours") if number % 2 == 0 else ("ours", "raw"):
            other = sides["ours" if side == "raw" else "raw"][0]
            others_bytes = resident(other) if getattr(other, "optimizer", None) else 0
            watches[side].start()
            sides[side][1]()
            figures = watches[side].figures()
            figures["own_peak_bytes"] = figures["peak_bytes"] - others_bytes
            windows[side].append(figures)
    return summary(windows)


def summary(sides: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over windows, their spread, and ours over raw."""
    speed = {side: [w["tokens_per_second"] for w in windows] for side, windows in sides.items()}
    memory = {side: median(w["own_peak_bytes"] for w in windows) for side, windows in sides.items()}
    return {
        "tokens_per_second": {side: median(values) for side, values in speed.items()},
        "spread": {side: [min(values), max(values)] for side, values in speed.items()},
        "speed_ratio": median(speed["ours"]) / median(speed["raw"]),
        "peak_bytes": memory,
        "memory_ratio": round(memory["ours"] / memory["raw"], 4) if memory["raw"] else None,
        "step_ms": {side: median(w["step_ms"] for w in windows) for side, windows in sides.items()},
        "windows": {side: [round(value) for value in values] for side, values in speed.items()},
        "tokens_per_step": {side: w[0]["tokens"] / w[0]["steps"] for side, w in sides.items()},
        "first_losses": {side: windows[0]["losses"][:3] for side, windows in sides.items()},
    }
