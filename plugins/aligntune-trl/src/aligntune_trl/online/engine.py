"""The engine of algorithms that write completions and are scored by rewards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aligntune_core import TrainResult
from aligntune_trl.engine import TrlEngine
from aligntune_trl.online import rewards_bridge


class OnlineEngine(TrlEngine):
    """``TrlEngine`` with rewards in force, and samples that follow a resume."""

    def effective(self) -> Mapping[str, Any]:
        """As the base, with the rewards section."""
        trainer = self._trainer
        weights = trainer.reward_weights.tolist()
        return {**super().effective(), **rewards_bridge.in_force(self._config, trainer.rewards, weights)}

    def train(self, resume_from: Path | None = None) -> TrainResult:
        """As the base, with sampling seeded; completions of steps that are taken again are dropped from the file."""
        from accelerate.utils import set_seed

        step = None
        if resume_from is None:
            # As at the end of construction: what was built or evaluated in between must not change what is sampled.
            set_seed(self._trainer.args.seed, device_specific=True)
        else:
            state = (resume_from / "trainer_state.json").read_text(encoding="utf-8")
            step = int(json.loads(state)["global_step"])
            if hasattr(self._trainer, "resume_at"):
                self._trainer.resume_at(step)
        self._trainer.samples.begin(step)
        return super().train(resume_from)
