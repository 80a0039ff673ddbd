"""Do rewards tell right from wrong? Asked before any training, of rows whose right answers are known.

Each row's reference is scored as if the model had said it; so is the reference of another row, which should score
lower, and what a model really says, where there is one.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aligntune_core.errors import DataError
from aligntune_core.rewards.function import REFERENCE_NAMES, reference_column
from aligntune_core.rewards.reward_set import RewardSet, Scores
from aligntune_core.rewards.text import completion_text, final_answer
from aligntune_core.wording import listed

BINS = 10
TOTAL = "total"
_CLOSE = 1e-9


@dataclass(frozen=True)
class Distribution:
    """Scores of one reward on one group of texts.

    Attributes:
        count: texts scored.
        mean: their mean score.
        std: their standard deviation; 0 for a single one.
        low: the lowest score.
        high: the highest.
        histogram: how many fall into each of ten equal bins between the lowest and the highest score of all groups.
    """

    count: int
    mean: float
    std: float
    low: float
    high: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        references: column of the right answers, or None.
        rewards: reward name (and "total") -> group ("references", "others", "samples") -> distribution.
        weights: reward name -> weight.
        warnings: sentences; empty where nothing looks wrong.
        samples: sampled completions with prompt, completion, each reward and the total.
    """

    references: str | None
    rewards: Mapping[str, Mapping[str, Distribution]]
    weights: Mapping[str, float]
    warnings: tuple[str, ...]
    samples: tuple[Mapping[str, Any], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is nothing to warn of."""
        return not self.warnings


def check_rewards(
    rewards: RewardSet,
    rows: Sequence[Mapping[str, Any]],
    sample: Callable[[list[Any]], list[str]] | None = None,
    samples: int = 0,
    seed: int = 0,
) -> CheckReport:
    """Score references, references of other rows, and sampled completions.

    Args:
        rewards: what to check.
        rows: canonical rows: ``prompt`` and the columns that rewards read.
        sample: completes prompts, for ``samples``.
        samples: how many of the rows' prompts are completed.
        seed: of the choice of other rows' references.

    Raises:
        DataError: there is nothing to score: no column with right answers and no samples.
        RewardError: as ``RewardSet.score``.
    """
    column = reference_column(dict.fromkeys(rows[0])) if rows else None
    known = [row for row in rows if column and row[column] is not None]
    if not known and not (samples and rows):
        raise DataError(
            f"there is nothing to score: no row has a right answer in a column {listed(REFERENCE_NAMES)}. Map one by "
            "column_mapping, or score what the model says with --samples N."
        )
    groups: dict[str, Scores] = {}
    if known:
        texts = [str(row[str(column)]) for row in known]
        groups["references"] = _score(rewards, known, texts)
        others = _others(texts, seed)
        if others:
            groups["others"] = _score(
                rewards, [known[i] for i in others], [texts[j] for j in others.values()]
            )
    asked = list(rows[:samples])
    said = sample([row["prompt"] for row in asked]) if sample is not None and asked else []
    if said:
        groups["samples"] = _score(rewards, asked, said)
    values = {name: _by_group(groups, name) for name in (*rewards.names, TOTAL)}
    return CheckReport(
        references=column if known else None,
        rewards={name: _distributions(by_group) for name, by_group in values.items()},
        weights=dict(zip(rewards.names, rewards.weights, strict=True)),
        warnings=tuple(_warnings(rewards, values)),
        samples=tuple(_shown(asked, said, groups.get("samples"))),
    )


def _score(rewards: RewardSet, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Scores:
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    prompts = [row["prompt"] for row in rows]
    # In a conversation the model's turn is a message, as it is in training.
    completions = [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    return rewards.score(prompts, completions, columns)


def _others(texts: Sequence[str], seed: int) -> dict[int, int]:
    """Row -> another row with another answer; rows for which there is none are left out."""
    answers = [final_answer(text).casefold() for text in texts]
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    found = {}
    for place, row in enumerate(order):
        later = order[place + 1 :] + order[:place]
        other = next((i for i in later if answers[i] != answers[row]), None)
        if other is not None:
            found[row] = other
    return dict(sorted(found.items()))


def _by_group(groups: Mapping[str, Scores], name: str) -> dict[str, list[float]]:
    return {g: s.total if name == TOTAL else s.values[s.names.index(name)] for g, s in groups.items()}


def _distributions(by_group: Mapping[str, Sequence[float]]) -> dict[str, Distribution]:
    everything = [value for values in by_group.values() for value in values]
    low, high = min(everything), max(everything)
    return {group: _distribution(values, low, high) for group, values in by_group.items()}


def _distribution(values: Sequence[float], low: float, high: float) -> Distribution:
    bins = [0] * BINS
    for value in values:
        place = int((value - low) / (high - low) * BINS) if high > low else 0
        bins[min(place, BINS - 1)] += 1
    return Distribution(
        count=len(values),
        mean=statistics.fmean(values),
        std=statistics.pstdev(values),
        low=min(values),
        high=max(values),
        histogram=tuple(bins),
    )


def _warnings(rewards: RewardSet, values: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    compared = {reward.name for reward in rewards.rewards if reward.reads_reference} | {TOTAL}
    found = []
    for name, by_group in values.items():
        label = "the total" if name == TOTAL else f'reward "{name}"'
        everything = [value for group in by_group.values() for value in group]
        if len(everything) > 1 and max(everything) - min(everything) <= _CLOSE:
            found.append(
                f"{label} gave {everything[0]:g} for each of the {len(everything)} texts: where all score alike "
                "there is nothing to learn from."
            )
            continue
        references, others = by_group.get("references"), by_group.get("others")
        if references and others and name in compared:
            right, wrong = statistics.fmean(references), statistics.fmean(others)
            if right <= wrong + _CLOSE:
                found.append(
                    f"{label} does not score references higher than other rows' references ({right:.4g} against "
                    f"{wrong:.4g}): it does not tell right answers from wrong ones."
                )
    said = values[TOTAL].get("samples", ())
    if (
        len(said) > 1
        and len(said) < sum(map(len, values[TOTAL].values()))
        and max(said) - min(said) <= _CLOSE
    ):
        found.append(
            f"the total gave {said[0]:g} for each of the {len(said)} sampled completions: groups in which all score "
            "alike teach nothing. Make the task easier, or give partial credit."
        )
    return found


def _shown(
    rows: Sequence[Mapping[str, Any]], said: Sequence[str], scores: Scores | None
) -> list[dict[str, Any]]:
    if scores is None:
        return []
    return [
        {
            "prompt": row["prompt"],
            "completion": completion_text(text),
            "rewards": {name: values[i] for name, values in zip(scores.names, scores.values, strict=True)},
            "total": scores.total[i],
        }
        for i, (row, text) in enumerate(zip(rows, said, strict=True))
    ]
