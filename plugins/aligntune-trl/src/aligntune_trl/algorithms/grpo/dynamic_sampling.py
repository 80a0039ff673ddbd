"""DAPO's dynamic sampling: other prompts take the place of those whose completions all score alike.

TRL has no such thing. Which prompts come in depends on the seed and on the step alone, so a resumed run draws the same.
All processes decide from the same gathered rewards; candidates are drawn in equal shares and handed to where they go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aligntune_core.toolkit import RunError

Rows = list[dict[str, Any]]
ALIKE = 1e-6
"""Totals closer than this share of their size are equal: float32 sums differ by rounding."""


@dataclass
class Drawn:
    """Rows with their completions, of this process, and the rewards of all processes.

    Attributes:
        rows: one a completion; groups lie side by side.
        generated: what TRL's ``_generate`` returned: lists with one entry a completion, empty ones, or None.
        rewards: (completions of all processes, reward functions), unweighted.
    """

    rows: Rows
    generated: list[Any]
    rewards: Any

    def take(self, at: int, other: Drawn, index: int) -> None:
        """Put completion ``index`` of ``other`` in the place of completion ``at``."""
        self.rows[at] = other.rows[index]
        for mine, theirs in zip(self.generated, other.generated, strict=True):
            if isinstance(mine, list) and mine:
                mine[at] = theirs[index]


@dataclass
class Outcome:
    """What dynamic sampling did for one batch.

    Attributes:
        resampled: groups that were replaced.
        attempts: further draws.
        left: groups that still score alike.
    """

    resampled: int = 0
    attempts: int = 0
    left: int = 0


class DynamicSampling:
    """Fills a batch with groups that differ in their rewards.

    Args:
        draw: generates and scores rows.
        gather: lists of all processes as one, in their order.
        fresh: number of the step -> order of row numbers that prompts are taken from.
        row: number -> row.
        group: completions of one prompt.
        weights: of the reward functions; 0 for those that do not count.
        attempts: further draws at most.
        keep: whether to go on when these are spent.
        rank: of this process.
        processes: number of them.
    """

    def __init__(
        self,
        draw: Callable[[Rows], Drawn],
        gather: Callable[[list[Any]], list[Any]],
        fresh: Callable[[int], Sequence[int]],
        row: Callable[[int], dict[str, Any]],
        group: int,
        weights: Any,
        attempts: int,
        keep: bool,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._draw, self._gather, self._fresh, self._row = draw, gather, fresh, row
        self._group, self._weights, self._attempts, self._keep = group, weights, attempts, keep
        self._rank, self._processes = rank, processes

    def fill(self, drawn: Drawn, step: int) -> Outcome:
        """Replace groups of ``drawn`` in place until all differ.

        Args:
            drawn: a scored batch.
            step: which draw of the run this is.

        Raises:
            RunError: the attempts are spent and some groups still score alike; shows their rewards.
        """
        outcome = Outcome()
        missing = self._alike(drawn.rewards)
        numbers = self._numbers(step, drawn.rows) if missing else iter(())
        while missing and outcome.attempts < self._attempts:
            candidates = self._candidates(numbers, len(missing))
            outcome.attempts += 1
            useless = set(self._alike(candidates.rewards))
            useful = [g for g in range(len(candidates.rewards) // self._group) if g not in useless]
            for place, candidate in zip(missing, useful, strict=False):
                self._replace(drawn, place, candidates, candidate)
                outcome.resampled += 1
            missing = missing[len(useful) :]
        outcome.left = len(missing)
        if missing and not self._keep:
            raise self._exhausted(drawn, missing)
        return outcome

    def _totals(self, rewards: Any) -> Any:
        """(groups, group size) of weighted sums."""
        return (rewards * self._weights.to(rewards)).nansum(dim=1).view(-1, self._group)

    def _alike(self, rewards: Any) -> list[int]:
        """Numbers of the groups whose completions all score the same."""
        totals = self._totals(rewards)
        spread = totals.amax(dim=1) - totals.amin(dim=1)
        alike = spread <= ALIKE * totals.abs().amax(dim=1)
        groups: list[int] = alike.nonzero().flatten().tolist()
        return groups

    def _numbers(self, step: int, rows: Rows) -> Iterator[int]:
        """Row numbers in the step's own order, over and over: first those whose prompts are not in the batch."""
        order = self._fresh(step)
        present = set(self._gather([str(row["prompt"]) for row in rows]))
        for number in order:
            if str(self._row(number)["prompt"]) not in present:
                yield number
        while True:
            yield from order

    def _candidates(self, numbers: Iterator[int], least: int) -> Drawn:
        """At least ``least`` groups, drawn by all processes in equal shares and the same for all."""
        count = least
        while count * self._group % self._processes:
            count += 1
        rows = [self._row(n) for n in (next(numbers) for _ in range(count)) for _ in range(self._group)]
        share = len(rows) // self._processes
        mine = self._draw(rows[self._rank * share : (self._rank + 1) * share])
        generated = [self._gather(part) if isinstance(part, list) else part for part in mine.generated]
        return Drawn(rows, generated, mine.rewards)

    def _replace(self, drawn: Drawn, place: int, candidates: Drawn, candidate: int) -> None:
        first, share = self._rank * len(drawn.rows), len(drawn.rows)
        for offset in range(self._group):
            at, index = place * self._group + offset, candidate * self._group + offset
            drawn.rewards[at] = candidates.rewards[index]
            if first <= at < first + share:
                drawn.take(at - first, candidates, index)

    def _exhausted(self, drawn: Drawn, missing: list[int]) -> RunError:
        totals = self._totals(drawn.rewards)
        seen = "; ".join(", ".join(f"{v:.4g}" for v in totals[g].tolist()) for g in missing[:4])
        return RunError(
            f"dynamic sampling: after {self._attempts} further draws (max_resampling) {len(missing)} of {len(totals)} "
            f"groups still have completions that all score alike; rewards seen: {seen}. Give prompts that the model "
            "solves sometimes, a reward that gives part of its points, a higher temperature or more num_generations; "
            'or go on without learning from such groups: on_exhausted="keep".'
        )
