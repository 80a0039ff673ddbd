"""The policy as the kit looks at it: its weights, and its logits where it is a model of transformers.

Imports torch: only the worker process uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from aligntune_core.algorithms import find
from aligntune_core.testing.probe import Probe

CLASSES: Mapping[str, Any] = {
    "lm": AutoModelForCausalLM,
    "score": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
}
"""Head of an algorithm -> the class of transformers that loads its models."""


class ModelPolicy:
    """A ``torch.nn.Module`` of transformers, wrapped by peft or not; ``files`` is the folder of the base model."""

    def __init__(self, model: Any, files: Path) -> None:
        self.model = model
        self._files = load_file(files / "model.safetensors")

    def weights(self) -> dict[str, Any]:
        """Name -> a copy on the CPU; without peft's copy of a head as it was, which nothing uses."""
        return {
            name: parameter.detach().cpu().clone()
            for name, parameter in self.model.named_parameters()
            if ".original_module." not in name
        }

    def base(self) -> set[str]:
        """Names of those weights that are the base model's, before training."""
        return {name for name, v in self.weights().items() if any(_equal(b, v) for b in self._files.values())}

    def changed_by_loading(self) -> list[str]:
        """Weights of the model's files that the policy does not have as they are."""
        weights = self.weights()
        return sorted(n for n, b in self._files.items() if not any(_equal(b, v) for v in weights.values()))

    def logits(self) -> Any:
        """Logits on a fixed sequence in float32; the model's mode is left as it was."""
        model, training = self.model, self.model.training
        model.eval()
        ids = torch.arange(4, 68).unsqueeze(0).to(model.device)
        with torch.no_grad():
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        model.train(training)
        return output.logits.float().cpu()


class ProbedPolicy:
    """What an engine's probe tells, in the terms of ``ModelPolicy``."""

    def __init__(self, probe: Probe, files: Path) -> None:
        self._probe = probe
        self._files = load_file(files / "model.safetensors")

    def weights(self) -> dict[str, Any]:
        return {name: torch.as_tensor(p.value).clone() for name, p in self._probe.parameters().items()}

    def base(self) -> set[str]:
        return {name for name in self._probe.parameters() if name in self._files}

    def changed_by_loading(self) -> list[str]:
        weights = self.weights()
        return sorted(
            n for n in self._files.keys() & weights.keys() if not _equal(self._files[n], weights[n])
        )

    def logits(self) -> Any:
        """None: the kit cannot run the model."""
        return None


def policy_of(engine: Any, files: Path) -> ModelPolicy | ProbedPolicy:
    """The policy of an engine, by its probe where it has one."""
    probe = getattr(engine, "probe", None)
    return ModelPolicy(engine.model, files) if probe is None else ProbedPolicy(probe, files)


def loaded(folder: Path, algorithm: str, **more: Any) -> Any:
    """A model by plain transformers, of the class that the algorithm's head takes."""
    return CLASSES[find(algorithm).head].from_pretrained(folder, **more).eval()


@cache
def reference(files: Path) -> Any:
    """The base model, to look at."""
    return AutoModelForCausalLM.from_pretrained(files, dtype=torch.float32).eval().requires_grad_(False)


def _equal(base: Any, value: Any) -> bool:
    return bool(base.shape == value.shape and torch.equal(base.to(value.dtype), value))
