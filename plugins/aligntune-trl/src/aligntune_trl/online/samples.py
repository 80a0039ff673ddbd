"""What the policy writes while it learns: ``samples.jsonl``, a look in the log, an alarm where nothing differs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aligntune_core.toolkit import SAMPLES, completion_text, prompt_text, rewind, shorten

logger = logging.getLogger("aligntune")

PER_STEP = 64
"""Completions of a step that are kept in the file, whole groups first to last."""


class Samples:
    """Takes each step's completions with their rewards.

    Args:
        folder: the run folder; None: nothing is written or shown.
        every: steps between completions shown in the log.
        alarm: steps in a row without any difference of rewards before a warning.
        group: completions of one prompt, which lie side by side; None: all of a step are compared with each other.
    """

    def __init__(self, folder: Path | None, every: int, alarm: int, group: int | None = None) -> None:
        self._path = folder / SAMPLES if folder is not None else None
        self._every, self._alarm, self._group = every, alarm, group
        self._shown: int | None = None
        self._equal_since: int | None = None
        self._warned = False

    def begin(self, step: int | None) -> None:
        """Training starts: after a resume at ``step`` the steps behind it are taken again, so their lines go."""
        if self._path is not None and step is not None:
            rewind(self._path, step)
        self._shown = self._equal_since = None
        self._warned = False

    def record(
        self,
        step: int,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        totals: Sequence[float],
        rewards: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Take the completions of one step.

        Args:
            step: the optimiser step that learns from them.
            prompts: texts or message lists, one a completion.
            completions: likewise.
            totals: the weighted sum of rewards of each.
            rewards: each reward's own values by its name, unweighted.
        """
        self._watch(step, totals)
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            for index in range(min(len(totals), PER_STEP)):
                line = {
                    "step": step,
                    "prompt": prompts[index],
                    "completion": completion_text(completions[index]),
                    "reward": float(totals[index]),
                    "rewards": {name: float(values[index]) for name, values in (rewards or {}).items()},
                }
                file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        if self._shown is None or step - self._shown >= self._every:
            self._shown = step
            self._show(step, prompts, completions, totals)

    def _show(
        self, step: int, prompts: Sequence[Any], completions: Sequence[Any], totals: Sequence[float]
    ) -> None:
        order = sorted(range(len(totals)), key=totals.__getitem__)
        for word, index in {"best": order[-1], "worst": order[0]}.items():
            logger.info(
                "step %s, %s of %s completions, reward %.4g\n  prompt %s\n  completion %s",
                step,
                word,
                len(totals),
                totals[index],
                shorten(prompt_text(prompts[index]), 200),
                shorten(completion_text(completions[index]), 400),
            )

    def _watch(self, step: int, totals: Sequence[float]) -> None:
        """Warn once where no reward has differed from another of its group for a while."""
        size = self._group or len(totals)
        groups = [totals[start : start + size] for start in range(0, len(totals), size)]
        if any(max(group) != min(group) for group in groups):
            self._equal_since, self._warned = None, False
            return
        if self._equal_since is None:
            self._equal_since = step
        if not self._warned and step - self._equal_since + 1 >= self._alarm:
            self._warned = True
            logger.warning(
                "since step %s all completions of a prompt have scored alike (now %s): there is nothing to learn from. "
                "Look at %s, run `aligntune reward check`, and make the reward give part of its points, the prompts "
                "easier or harder, or the temperature higher.",
                self._equal_since,
                ", ".join(f"{group[0]:.4g}" for group in groups[:4]),
                SAMPLES if self._path is not None else "the completions (log_completions=True)",
            )
