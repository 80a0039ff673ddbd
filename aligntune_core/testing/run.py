"""One watched run in the worker process: training it, and looking at what it left. Imports torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from aligntune_core.config import paths
from aligntune_core.run import checkpoints
from aligntune_core.testing import contract, rows
from aligntune_core.testing.observe import Observer

STOP = "the kit asked"


class Run:
    """Trains a built trainer under observation.

    Args:
        trainer: made by core's factory.
        files: folder of the base model.
    """

    def __init__(self, trainer: Any, files: Path) -> None:
        self.trainer, self._files = trainer, files
        self._config = paths(trainer.config)
        self._data = rows.rows(trainer.config.algorithm)
        self._events: list[dict[str, Any]] = []
        self._base = load_file(files / "model.safetensors")
        self._before = _weights(trainer.model)
        self._logits_before = self._logits(trainer.model)
        self._observer: Observer | None = None
        self._result: Any = None

    def train(self, stop_after: int, resume: Path | None) -> None:
        """Train to the end, or until ``stop_after`` steps are taken; from a checkpoint, or from the start."""
        trainer = self.trainer

        def stop(step: int) -> None:
            if step == stop_after:
                trainer._session.stop.request(STOP)

        self._observer = Observer(
            trainer.model,
            trainer.tokenizer,
            trainer.config.algorithm,
            self._data,
            self._config,
            reference=_reference(self._files),
            after_step=stop,
        )
        trainer.on_event = lambda event: self._events.append(dict(event))
        with self._observer.watching():
            self._result = trainer.train(resume=resume)

    def record(self) -> dict[str, Any]:
        """Everything that was seen, in types that JSON knows."""
        assert self._observer is not None
        after = _weights(self.trainer.model)
        base = {name for name, value in self._before.items() if self._is_base(value)}
        changed = {name for name, value in after.items() if not torch.equal(value, self._before[name])}
        config = {
            p: v for p, v in self._config.items() if isinstance(v, (str, int, float, bool, list, type(None)))
        }
        return {
            "config": config,
            "steps": self._observer.as_dicts(),
            "expected_rows": contract.batches(len(self._data), self._config),
            "events": [_numbers(event) for event in self._events],
            "result": {
                "steps": self._result.steps,
                "stopped": self._result.stopped,
                "train_loss": self._result["train_loss"],
            },
            "loaded": sorted(
                n for n, v in self._base.items() if not any(_equal(v, w) for w in self._before.values())
            ),
            "base_changed": sorted(base & changed),
            "base_unchanged": sorted(base - changed),
            "others": sorted(set(after) - base),
            "others_unchanged": sorted(set(after) - base - changed),
            "linear": {
                name: list(module.weight.shape)
                for name, module in _reference(self._files).named_modules()
                if isinstance(module, torch.nn.Linear)
            },
            "checkpoints": {
                str(folder.name): checkpoints.problem(folder)
                for folder in checkpoints.checkpoints(self.trainer.output_dir)
            },
            "fingerprint": {name: float(value.double().abs().sum()) for name, value in after.items()},
        }

    def _is_base(self, value: Any) -> bool:
        return any(_equal(base, value) for base in self._base.values())

    # --- what it left ------------------------------------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        """Save, load with plain peft and transformers, compare logits; and the adapter's files."""
        folder = Path(self.trainer.output_dir)
        adapted = (folder / "adapter_config.json").is_file()
        if adapted:
            from peft import PeftModel

            loaded = PeftModel.from_pretrained(_plain(self._files), folder)
            tensors = load_file(folder / "adapter_model.safetensors")
            shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
            settings = json.loads((folder / "adapter_config.json").read_text())
        else:
            loaded, shapes, settings = AutoModelForCausalLM.from_pretrained(folder), {}, {}
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text = "the oven is warm"
        return {
            "adapted": adapted,
            "shapes": shapes,
            "adapter": {
                name: settings.get(name) for name in ("r", "lora_alpha", "bias", "base_model_name_or_path")
            },
            "difference": self._difference(loaded),
            "moved": float((self._logits(self.trainer.model) - self._logits_before).abs().max()),
            "tokenizer": tokenizer(text)["input_ids"] == self.trainer.tokenizer(text)["input_ids"]
            and tokenizer.chat_template == self.trainer.tokenizer.chat_template,
        }

    def merged(self) -> dict[str, Any]:
        """Save merged, load with plain transformers, compare logits; the policy itself has to stay as it was."""
        before = self._logits(self.trainer.model)
        folder = self.trainer.save_model(merged=True)
        whole = not (Path(folder) / "adapter_config.json").exists()
        return {
            "whole": whole,
            "difference": self._difference(AutoModelForCausalLM.from_pretrained(folder)) if whole else None,
            "policy_moved": float((self._logits(self.trainer.model) - before).abs().max()),
        }

    def evaluation(self) -> dict[str, Any]:
        """Evaluate on the held-out rows, and by hand; the policy has to stay as it was."""
        before = _weights(self.trainer.model)
        found = self.trainer.evaluate()
        held_out = rows.rows(self.trainer.config.algorithm, rows.HELD_OUT, rows.ROWS)
        samples = [contract.samples(row, self.trainer.tokenizer, self._config) for row in held_out]
        self.trainer.model.eval()
        with torch.no_grad():
            expected = float(contract.sft_loss(self.trainer.model, [[s[0] for s in samples]]))
        after = _weights(self.trainer.model)
        return {
            "found": _numbers(found),
            "finite": all(math.isfinite(value) for value in found.values()),
            "expected_loss": expected,
            "changed": sorted(name for name in after if not torch.equal(after[name], before[name])),
        }

    def generation(self, max_new_tokens: int) -> dict[str, Any]:
        """Greedy answers, twice, to a string and to the same as messages; the likeliest first token by hand."""
        tokenizer, model = self.trainer.tokenizer, self.trainer.model
        prompts = ["the oven is", "slow"]
        messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
        found = self.trainer.generate(prompts, max_new_tokens=max_new_tokens)
        firsts = []
        model.eval()
        for message in messages:
            ids = tokenizer.apply_chat_template(
                message, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            with torch.no_grad():
                logits = model(input_ids=ids["input_ids"].to(model.device), use_cache=False).logits[0, -1]
            firsts.append(tokenizer.decode([int(logits.argmax())], skip_special_tokens=True))
        return {
            "answers": found,
            "again": self.trainer.generate(prompts, max_new_tokens=max_new_tokens),
            "to_messages": self.trainer.generate(messages, max_new_tokens=max_new_tokens),
            "sampled": self.trainer.generate(prompts[:1], max_new_tokens=2, temperature=1.0, top_p=0.9),
            "firsts": firsts,
            "lengths": [len(tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in found],
            "prompts": prompts,
        }

    def _logits(self, model: Any) -> Any:
        """Logits on a fixed sequence, in float32; the model's mode is left as it was."""
        training = model.training
        model.eval()
        ids = torch.arange(4, 68).unsqueeze(0).to(model.device)
        with torch.no_grad():
            found = (
                model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
                .logits.float()
                .cpu()
            )
        model.train(training)
        return found

    def _difference(self, loaded: Any) -> float:
        loaded = loaded.to(self.trainer.model.device)
        return float((self._logits(loaded) - self._logits(self.trainer.model)).abs().max())


def _plain(files: Path) -> Any:
    """The base model by plain transformers."""
    return AutoModelForCausalLM.from_pretrained(files, dtype=torch.float32).eval()


@cache
def _reference(files: Path) -> Any:
    """The base model, to look at."""
    return _plain(files).requires_grad_(False)


def _weights(model: Any) -> dict[str, Any]:
    return {name: parameter.detach().cpu().clone() for name, parameter in model.named_parameters()}


def _equal(base: Any, value: Any) -> bool:
    return bool(base.shape == value.shape and torch.equal(base.to(value.dtype), value))


def _numbers(event: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in event.items() if isinstance(value, (int, float))}
