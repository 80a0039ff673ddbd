"""One watched run in the worker process: training it, and looking at what it left. Imports torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from aligntune_core.config import paths
from aligntune_core.run import checkpoints
from aligntune_core.testing.fixtures import rows
from aligntune_core.testing.fixtures.runs import COMPARED
from aligntune_core.testing.watch import contract
from aligntune_core.testing.watch.observe import Observer

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
        """Load with plain peft and transformers, compare logits; the adapter's files; and save to another folder."""
        folder = Path(self.trainer.output_dir)
        elsewhere = folder.with_name(f"{folder.name}-elsewhere")
        self.trainer.save_model(elsewhere)
        adapted = (folder / "adapter_config.json").is_file()
        found: dict[str, Any] = {
            "lacking": _lacking(folder),
            "lacking_elsewhere": _lacking(elsewhere),
            "moved": float((self._logits(self.trainer.model) - self._logits_before).abs().max()),
            "adapted": adapted,
            "adapter": {},
            "shapes": {},
        }
        if not found["lacking"]:
            found |= self._adapter(folder) if adapted else {}
            found |= self._reloaded(folder, adapted)
        return found

    def _adapter(self, folder: Path) -> dict[str, Any]:
        tensors = load_file(folder / "adapter_model.safetensors")
        settings = json.loads((folder / "adapter_config.json").read_text())
        return {
            "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
            "adapter": {
                name: settings.get(name) for name in ("r", "lora_alpha", "bias", "base_model_name_or_path")
            },
        }

    def _reloaded(self, folder: Path, adapted: bool) -> dict[str, Any]:
        if adapted:
            from peft import PeftModel

            loaded = PeftModel.from_pretrained(_plain(self._files), folder)
        else:
            loaded = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer, own, text = (
            AutoTokenizer.from_pretrained(folder),
            self.trainer.tokenizer,
            "the oven is warm",
        )
        return {
            "difference": self._difference(loaded),
            "tokenizer": tokenizer(text)["input_ids"] == own(text)["input_ids"]
            and tokenizer.chat_template == own.chat_template,
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
        """Evaluate on the held-out rows and on others, and by hand; the policy has to stay as it was."""
        before, algorithm = _weights(self.trainer.model), self.trainer.config.algorithm
        held_out = rows.rows(algorithm, rows.HELD_OUT, rows.ROWS)
        others = rows.rows(algorithm, rows.OTHERS, rows.ROWS + rows.HELD_OUT)
        found, of_others = self.trainer.evaluate(), self.trainer.evaluate(others)
        after = _weights(self.trainer.model)
        return {
            "found": _numbers(found),
            "others": _numbers(of_others),
            "finite": all(math.isfinite(value) for value in (*found.values(), *of_others.values())),
            "expected_loss": self._expected_loss(held_out),
            "expected_of_others": self._expected_loss(others),
            "changed": sorted(name for name in after if not torch.equal(after[name], before[name])),
        }

    def _expected_loss(self, data: Sequence[Mapping[str, Any]]) -> float | None:
        """The contract's loss of all these rows; None for an algorithm whose loss the kit does not know."""
        model, algorithm = self.trainer.model, self.trainer.config.algorithm
        if algorithm not in COMPARED:
            return None
        samples = [contract.samples(row, self.trainer.tokenizer, self._config) for row in data]
        model.eval()
        with torch.no_grad():
            if algorithm == "sft":
                return float(contract.sft_loss(model, [[own[0] for own in samples]]))
            beta = self._config["parameters.beta"]
            return float(contract.dpo_loss(model, _reference(self._files), beta, [samples]))

    def generation(self, max_new_tokens: int) -> dict[str, Any]:
        """Greedy answers, twice, to a string and to the same as messages; and greedy by hand."""
        prompts = ["the oven is", "slow"]
        messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
        return {
            "answers": self.trainer.generate(prompts, max_new_tokens=max_new_tokens),
            "again": self.trainer.generate(prompts, max_new_tokens=max_new_tokens),
            "to_messages": self.trainer.generate(messages, max_new_tokens=max_new_tokens),
            "sampled": self.trainer.generate(prompts[:1], max_new_tokens=2, temperature=1.0, top_p=0.9),
            "greedy": [self._greedy(message, max_new_tokens) for message in messages],
            "prompts": prompts,
        }

    def _greedy(self, messages: list[dict[str, str]], count: int) -> str:
        """The answer of the likeliest tokens, one after the other, to the end or to ``count`` of them."""
        tokenizer, model = self.trainer.tokenizer, self.trainer.model
        model.eval()
        ids = list(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        )
        start = len(ids)
        while len(ids) < start + count and (len(ids) == start or ids[-1] != tokenizer.eos_token_id):
            with torch.no_grad():
                given = torch.tensor([ids], device=model.device)
                ids.append(int(model(input_ids=given, use_cache=False).logits[0, -1].argmax()))
        return str(tokenizer.decode(ids[start:], skip_special_tokens=True))

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


def _lacking(folder: Path) -> list[str]:
    """Files that a saved model has to have, and this one has not."""
    return [name for name in ("*.safetensors", "tokenizer_config.json") if not any(folder.glob(name))]


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
