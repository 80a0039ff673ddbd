"""The TRL backend's engine on an Unsloth model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aligntune_core import Datasets, LoadedModel, Prepared, RunContext, Sampling, TrainResult
from aligntune_core.toolkit import find_algorithm
from aligntune_core.types import Form
from aligntune_trl import api
from aligntune_unsloth.start import spoken

# Where Unsloth writes on a model which kind of checkpointing it uses, on a GPU and on a CPU.
_CHECKPOINTING = ("_unsloth_gradient_checkpointing", "_unsloth_cpu_gradient_checkpointing")


def build(
    loaded: LoadedModel, config: Any, datasets: Datasets, prepared: Prepared, run: RunContext
) -> UnslothEngine:
    """Build the trainer with the TRL backend's own code; the classes that it finds in trl are Unsloth's."""
    with spoken():
        engine = api.build(loaded, config, datasets, prepared, run)
    # Unsloth asks for evaluation in the training precision, for which transformers casts the adapters for good.
    engine.native.args.bf16_full_eval = engine.native.args.fp16_full_eval = False
    if find_algorithm(config.algorithm).supervised:
        from aligntune_unsloth import tokens

        tokens.count(engine.native)
    return UnslothEngine(engine, config)


class UnslothEngine:
    """``aligntune_core.Engine``: the TRL backend's, with Unsloth's own switches between training and generating.

    Args:
        inner: the TRL backend's engine.
        config: resolved configuration.
    """

    def __init__(self, inner: Any, config: Any) -> None:
        self._inner = inner
        self._config = config

    @property
    def native(self) -> Any:
        """The trainer: TRL's class as Unsloth has patched it, or ours for PPO."""
        return self._inner.native

    @property
    def model(self) -> Any:
        """The policy, an Unsloth model."""
        return self._inner.model

    def effective(self) -> Mapping[str, Any]:
        """As the TRL backend, and the kind of checkpointing as Unsloth notes it on the model."""
        values = dict(self._inner.effective())
        noted = next(
            (getattr(self.model, name) for name in _CHECKPOINTING if hasattr(self.model, name)), None
        )
        if values["optim.gradient_checkpointing"] and noted == "unsloth":
            values["optim.gradient_checkpointing"] = "unsloth"
        if values.get("data.packing"):
            # Packed rows are padding-free in TRL too, whatever this says; Unsloth writes it down as well.
            values["data.padding_free"] = self._config.data.padding_free
        return values

    def train(self, resume_from: Path | None = None) -> TrainResult:
        """Train to the end, or until the run is told to stop."""
        result: TrainResult = self._inner.train(resume_from)
        return result

    def evaluate(self, rows: Any = None) -> Mapping[str, float]:
        """Evaluate on ``rows``, by default on the run's held-out rows."""
        figures: Mapping[str, float] = self._inner.evaluate(rows)
        return figures

    def save(self, path: Path, form: Form) -> None:
        """Write adapter or model, loadable with plain peft and transformers."""
        with spoken():
            self._inner.save(path, form)

    def generate(self, prompts: Sequence[Any], sampling: Sampling) -> list[str]:
        """Complete each prompt with Unsloth's inference mode on."""
        from unsloth import FastLanguageModel

        model, training = self.model, self.model.training
        with spoken():
            FastLanguageModel.for_inference(model)
            try:
                completions: list[str] = self._inner.generate(prompts, sampling)
            finally:
                FastLanguageModel.for_training(model)
                model.train(training)
        return completions

    def close(self) -> None:
        """Let go of the model and its memory."""
        self._inner.close()
