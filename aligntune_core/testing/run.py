"""One watched run in the worker process: training it, and looking at what it left. Imports torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from aligntune_core.algorithms import find
from aligntune_core.config import paths
from aligntune_core.run import checkpoints
from aligntune_core.testing.fixtures import rows
from aligntune_core.testing.fixtures.runs import DRAWN, NEW_TOKENS, PROMPTS
from aligntune_core.testing.watch import contract
from aligntune_core.testing.watch.losses import LOSSES
from aligntune_core.testing.watch.observe import Observer, ProbeObserver
from aligntune_core.testing.watch.policy import loaded, policy_of, reference

STOP = "the kit asked"


class Run:
    """Trains a built trainer under observation; ``files`` is the folder of the base model."""

    def __init__(self, trainer: Any, files: Path) -> None:
        self.trainer, self._files = trainer, files
        self.algorithm: str = trainer.config.algorithm
        self.tokenizer = trainer.tokenizer or AutoTokenizer.from_pretrained(files)
        self._config = paths(trainer.config)
        self._data = rows.rows(self.algorithm)
        self._events: list[dict[str, Any]] = []
        self._probe = getattr(trainer._engine, "probe", None)
        self._policy = policy_of(trainer._engine, files)
        self._before, self._base = self._policy.weights(), self._policy.base()
        self._strange = self._policy.changed_by_loading()
        self._looked = self._look()
        self._stop_after = 0
        watched = (self.tokenizer, self.algorithm, self._data, self._config, self._stop)
        self._observer: Observer | ProbeObserver
        if self._probe is None:
            self._observer = Observer(trainer.model, reference(files), *watched)
        else:
            self._observer = ProbeObserver(self._probe, *watched)

    def train(self, stop_after: int, resume: Path | None) -> None:
        """Train to the end, or until ``stop_after`` steps are taken; from a checkpoint, or from the start."""
        self._stop_after = stop_after
        self.trainer.on_event = lambda event: self._events.append(_numbers(event))
        with self._observer.watching():
            self._result = self.trainer.train(resume=resume)

    def _stop(self, step: int) -> None:
        if step == self._stop_after:
            self.trainer._session.stop.request(STOP)

    def record(self) -> dict[str, Any]:
        """Everything that was seen, in plain types."""
        after, base = self._policy.weights(), self._base
        changed = {name for name, value in after.items() if not torch.equal(value, self._before[name])}
        plain = (str, int, float, bool, list, type(None))
        return {
            "config": {path: value for path, value in self._config.items() if isinstance(value, plain)},
            "probed": self._probe is not None,
            "steps": [asdict(step) for step in self._observer.steps],
            "expected_rows": contract.batches(len(self._data), self._config),
            "events": self._events,
            "result": {
                "steps": self._result.steps,
                "stopped": self._result.stopped,
                "train_loss": self._result["train_loss"],
            },
            "loaded": self._strange,
            "base_changed": sorted(base & changed),
            "base_unchanged": sorted(base - changed),
            "others": sorted(set(after) - base),
            "others_unchanged": sorted(set(after) - base - changed),
            "linear": {
                name: list(module.weight.shape)
                for name, module in reference(self._files).named_modules()
                if isinstance(module, torch.nn.Linear)
            },
            "checkpoints": {
                str(folder.name): checkpoints.problem(folder)
                for folder in checkpoints.checkpoints(self.trainer.output_dir)
            },
            "fingerprint": {name: float(value.double().abs().sum()) for name, value in after.items()},
        }

    # --- what it left ------------------------------------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        """Load with plain peft and transformers, compare logits; the adapter's files; and save to another folder."""
        folder = Path(self.trainer.output_dir)
        elsewhere = folder.with_name(f"{folder.name}-elsewhere")
        self.trainer.save_model(elsewhere)
        adapted, after = (folder / "adapter_config.json").is_file(), self._look()
        record: dict[str, Any] = {
            "probed": self._probe is not None,
            "lacking": _lacking(folder),
            "lacking_elsewhere": _lacking(elsewhere),
            "moved": _distance(self._looked, after),
            "adapted": adapted,
            "adapter": {},
            "shapes": {},
            "difference": None,
        }
        if not record["lacking"]:
            record["tokenizer"] = self._same_tokenizer(folder)
            if self._probe is None:
                record |= self._adapter(folder) if adapted else {}
                record["difference"] = self._difference(self._reloaded(folder, adapted))
        return record

    def _look(self) -> dict[str, Any]:
        """The policy's logits, or its weights where the kit cannot run it."""
        logits = self._policy.logits()
        return self._policy.weights() if logits is None else {"logits": logits}

    def _adapter(self, folder: Path) -> dict[str, Any]:
        tensors = load_file(folder / "adapter_model.safetensors")
        settings = json.loads((folder / "adapter_config.json").read_text())
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        return {"shapes": shapes, "adapter": {name: settings.get(name) for name in ("r", "lora_alpha")}}

    def _reloaded(self, folder: Path, adapted: bool) -> Any:
        if not adapted:
            return loaded(folder, self.algorithm)
        from peft import PeftModel

        # A head that the base model's files lack comes with the adapter.
        more = {"num_labels": 1} if find(self.algorithm).head != "lm" else {}
        base = loaded(self._files, self.algorithm, dtype=torch.float32, **more)
        return PeftModel.from_pretrained(base, folder).eval()

    def _same_tokenizer(self, folder: Path) -> bool:
        saved, own, text = AutoTokenizer.from_pretrained(folder), self.tokenizer, "the oven is warm"
        same_ids = saved(text)["input_ids"] == own(text)["input_ids"]
        return bool(same_ids and saved.chat_template == own.chat_template)

    def merged(self) -> dict[str, Any]:
        """Save merged, load with plain transformers, compare logits; the policy itself has to stay as it was."""
        before = self._look()
        folder = Path(self.trainer.save_model(merged=True))
        after = self._look()
        whole = not (folder / "adapter_config.json").exists()
        read = whole and self._probe is None
        return {
            "whole": whole,
            "lacking": _lacking(folder),
            "difference": self._difference(loaded(folder, self.algorithm)) if read else None,
            "moved": _distance(before, after),
        }

    def evaluation(self) -> dict[str, Any]:
        """Evaluate on the held-out rows and on others, and by hand; the policy has to stay as it was."""
        before = self._policy.weights()
        held_out = rows.rows(self.algorithm, rows.HELD_OUT, rows.ROWS)  # what the kit's own call evaluates on
        others = rows.rows(self.algorithm, rows.OTHERS, rows.ROWS + rows.HELD_OUT)
        own, of_others = self.trainer.evaluate(), self.trainer.evaluate(others)
        after = self._policy.weights()
        return {
            "own": _numbers(own),
            "others": _numbers(of_others),
            "finite": all(math.isfinite(value) for value in (*own.values(), *of_others.values())),
            "expected_loss": self._expected_loss(held_out),
            "expected_of_others": self._expected_loss(others),
            "changed": sorted(name for name in after if not torch.equal(after[name], before[name])),
        }

    def _expected_loss(self, data: Sequence[Mapping[str, Any]]) -> float | None:
        """The contract's loss of all these rows, or what the probe says; None where the kit has no loss by hand."""
        if self._probe is not None:
            return float(self._probe.loss(data))
        if (loss := LOSSES.get(self.algorithm)) is None:
            return None
        model = self.trainer.model
        samples = [contract.samples(row, self.tokenizer, self._config) for row in data]
        model.eval()
        with torch.no_grad():
            return float(loss(model, reference(self._files), self._config, [samples]))

    def generation(self) -> dict[str, Any]:
        """Greedy answers, twice, to a string and to the same as messages; and greedy by hand."""
        messages = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
        greedy = [self._greedy(message) for message in messages] if self._probe is None else None
        return {
            "answers": self._answers(),
            "again": self._answers(),
            "to_messages": self._answers(messages),
            "sampled": self.trainer.generate([PROMPTS[0]], max_new_tokens=2, temperature=1.0, top_p=0.9),
            "greedy": greedy,
        }

    def sampling(self) -> dict[str, Any]:
        """Several answers a prompt with a seed, twice and with another; greedy ones ended by a text of their own."""
        drawn: dict[str, Any] = {"temperature": 1.5, "n": DRAWN}
        greedy = self._answers()
        end = next((text[len(text) // 2] for text in greedy if len(text) > 1), "")
        return {
            "drawn": self._answers(seed=1, **drawn),
            "again": self._answers(seed=1, **drawn),
            "other_seed": self._answers(PROMPTS[:1], seed=2, **drawn),
            "end": end,
            "greedy": greedy,
            "ended": self._answers(stop=end) if end else [],
        }

    def _answers(self, prompts: Sequence[Any] = PROMPTS, **sampling: Any) -> Any:
        return self.trainer.generate(list(prompts), max_new_tokens=NEW_TOKENS, **sampling)

    def close(self) -> None:
        """Close the trainer, as a ``with`` block does after its body has done so."""
        self.trainer.close()
        self.trainer.close()

    def _greedy(self, messages: list[dict[str, str]]) -> str:
        """The answer of the likeliest tokens, one after the other, to the end or to ``NEW_TOKENS`` of them."""
        model, end = self.trainer.model.eval(), self.tokenizer.eos_token_id
        ids = contract.ids_of(self.tokenizer, messages, add_generation_prompt=True)
        start = len(ids)
        while len(ids) < start + NEW_TOKENS and (len(ids) == start or ids[-1] != end):
            with torch.no_grad():
                prefix = torch.tensor([ids], device=model.device)
                ids.append(int(model(input_ids=prefix, use_cache=False).logits[0, -1].argmax()))
        return str(self.tokenizer.decode(ids[start:], skip_special_tokens=True))

    def _difference(self, model: Any) -> float:
        """The largest difference of a logit between a model and the policy."""
        other = type(self._policy)(model.to(self.trainer.model.device), self._files)
        return float((other.logits() - self._policy.logits()).abs().max())


def _lacking(folder: Path) -> list[str]:
    """Files that a saved model has to have, and this one has not."""
    return [name for name in ("*.safetensors", "tokenizer_config.json") if not any(folder.glob(name))]


def _numbers(event: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in event.items() if isinstance(value, (int, float))}


def _distance(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """The largest change of a number in arrays of the same names."""
    return max(float((after[name] - value).abs().max()) for name, value in before.items())
