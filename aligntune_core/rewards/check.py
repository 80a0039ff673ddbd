"""Check rewards before training: their models and columns before weights load, and their scores on real rows.

For the scores each row's reference counts as a completion of that row. So does the reference of another row, which
should score lower, and a completion of the model itself, where one is asked for.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aligntune_core.errors import ConfigError, DataError, RewardError
from aligntune_core.rewards.function import REFERENCE_NAMES, FunctionReward, reference_column
from aligntune_core.rewards.model import ModelReward
from aligntune_core.rewards.reward_set import RewardSet, Scores
from aligntune_core.rewards.text import TextOrMessages, completion_text, final_answer
from aligntune_core.wording import listed

if TYPE_CHECKING:
    from aligntune_core.config.schema.weights import ModelConfig
    from aligntune_core.types import Datasets

BINS = 10
TOTAL = "total"
_CLOSE = 1e-9


def check_models(rewards: RewardSet) -> None:
    """Refuse reward models that are not there, or are none by their configuration.

    Raises:
        ConfigError: names each.
    """
    problems: list[str] = []
    for reward in rewards.rewards:
        if isinstance(reward, ModelReward):
            try:
                reward.model.check()
            except ConfigError as error:
                problems += [f'reward "{reward.name}": {problem}' for problem in error.problems]
    if problems:
        raise ConfigError(problems)


def check_columns(rewards: RewardSet, datasets: Datasets) -> None:
    """Refuse functions that need a column which the rows do not have, where the columns are known beforehand.

    Raises:
        ConfigError: names each with the columns that there are.
    """
    problems: list[str] = []
    for what, rows in (("training", datasets.train), ("held-out", datasets.eval)):
        columns = getattr(rows, "column_names", None)  # None for a stream that does not say
        if not columns:
            continue
        for reward in rewards.rewards:
            if isinstance(reward, FunctionReward):
                try:
                    reward.check_columns(columns)
                except RewardError as error:
                    problems.append(str(error).replace("the rows", f"the {what} rows", 1))
    if problems:
        raise ConfigError(problems)


# --- scores of real rows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreDistribution:
    """Scores of one reward on one group of texts."""

    count: int  # texts scored
    mean: float  # their mean score
    std: float  # their standard deviation; 0 for a single one
    low: float  # the lowest score
    high: float  # the highest
    # How many fall into each of ten equal bins between the lowest and the highest score of all groups.
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class CheckReport:
    """The result of a check."""

    references: str | None  # column of the right answers, or None
    # Reward name (and "total") -> group ("references", "others", "samples") -> distribution.
    rewards: Mapping[str, Mapping[str, ScoreDistribution]]
    weights: Mapping[str, float]  # reward name -> weight
    warnings: tuple[str, ...]  # sentences; empty where nothing looks wrong
    # Sampled completions with prompt, completion, each reward and the total.
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
    """Score references, references of other rows, and ``samples`` completions, where ``sample`` completes prompts.

    Raises:
        DataError: there is nothing to score: no column with right answers and no samples.
        RewardError: as ``RewardSet.score``.
    """
    column = reference_column(rows[0]) if rows else None
    answer_rows = [row for row in rows if column and row[column] is not None]
    if not answer_rows and not (samples and rows):
        raise DataError(
            f"there is nothing to score: no row has a right answer in a column {listed(REFERENCE_NAMES)}. Map one by "
            "column_mapping, or score what the model says with --samples N."
        )
    groups: dict[str, Scores] = {}
    if answer_rows:
        texts = [str(row[str(column)]) for row in answer_rows]
        groups["references"] = _score(rewards, answer_rows, texts)
        if others := _others(texts, seed):
            wrong = [texts[other] for other in others.values()]
            groups["others"] = _score(rewards, [answer_rows[row] for row in others], wrong)
    sample_rows = list(rows[:samples])
    completions = sample([row["prompt"] for row in sample_rows]) if sample is not None and sample_rows else []
    if completions:
        groups["samples"] = _score(rewards, sample_rows, completions)
    values = {
        name: {group: scores.values[place] for group, scores in groups.items()}
        for place, name in enumerate(rewards.names)
    }
    values[TOTAL] = {group: scores.total for group, scores in groups.items()}
    return CheckReport(
        references=column if answer_rows else None,
        rewards={name: _distributions(by_group) for name, by_group in values.items()},
        weights=dict(zip(rewards.names, rewards.weights, strict=True)),
        warnings=tuple(_warnings(rewards, values)),
        samples=tuple(_sample_entries(sample_rows, completions, groups.get("samples"))),
    )


def _score(rewards: RewardSet, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Scores:
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    prompts = [row["prompt"] for row in rows]
    # In a conversation the completion is a message, as it is in training.
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
    partners = {}
    for place, row in enumerate(order):
        later = order[place + 1 :] + order[:place]
        other = next((i for i in later if answers[i] != answers[row]), None)
        if other is not None:
            partners[row] = other
    return dict(sorted(partners.items()))


def _distributions(by_group: Mapping[str, Sequence[float]]) -> dict[str, ScoreDistribution]:
    everything = [value for values in by_group.values() for value in values]
    low, high = min(everything), max(everything)
    return {group: _distribution(values, low, high) for group, values in by_group.items()}


def _distribution(values: Sequence[float], low: float, high: float) -> ScoreDistribution:
    width = (high - low) or 1.0
    places = Counter(min(int((value - low) / width * BINS), BINS - 1) for value in values)
    return ScoreDistribution(
        count=len(values),
        mean=statistics.fmean(values),
        std=statistics.pstdev(values),
        low=min(values),
        high=max(values),
        histogram=tuple(places[place] for place in range(BINS)),
    )


def _warnings(rewards: RewardSet, values: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    compared = {reward.name for reward in rewards.rewards if reward.reads_reference} | {TOTAL}
    sentences = []
    for name, by_group in values.items():
        label = "the total" if name == TOTAL else f'reward "{name}"'
        everything = [value for group in by_group.values() for value in group]
        if len(everything) > 1 and max(everything) - min(everything) <= _CLOSE:
            sentences.append(
                f"{label} gave {everything[0]:g} for each of the {len(everything)} texts: where all score alike "
                "there is nothing to learn from."
            )
            continue
        references, others = by_group.get("references"), by_group.get("others")
        if references and others and name in compared:
            right, wrong = statistics.fmean(references), statistics.fmean(others)
            if right <= wrong + _CLOSE:
                sentences.append(
                    f"{label} does not score references higher than other rows' references ({right:.4g} against "
                    f"{wrong:.4g}): it does not tell right answers from wrong ones."
                )
    sums = values[TOTAL].get("samples", ())
    alone = len(values[TOTAL]) == 1
    if len(sums) > 1 and not alone and max(sums) - min(sums) <= _CLOSE:
        sentences.append(
            f"the total gave {sums[0]:g} for each of the {len(sums)} sampled completions: groups in which all score "
            "alike teach nothing. Make the task easier, or give partial credit."
        )
    return sentences


def _sample_entries(
    rows: Sequence[Mapping[str, Any]], completions: Sequence[str], scores: Scores | None
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
        for i, (row, text) in enumerate(zip(rows, completions, strict=True))
    ]


# --- completions of the model as it is now ---------------------------------------------------------------------------


def sample_completions(
    model: ModelConfig,
    tokenizer: Any,
    prompts: Sequence[TextOrMessages],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """Complete each prompt once, as an online algorithm would.

    The model is loaded as it lies on disk, without quantising it, on CUDA where there is one. ``max_new_tokens`` counts
    special tokens, which are left out of the texts; ``top_p`` is the nucleus, 0..1.
    """
    import torch

    policy = _policy(model)
    ends = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    options = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    options |= {"max_new_tokens": max_new_tokens, "pad_token_id": ends}
    completions = []
    torch.manual_seed(seed)
    for prompt in prompts:
        if isinstance(prompt, str):
            inputs = tokenizer(prompt, return_tensors="pt")
        else:
            inputs = tokenizer.apply_chat_template(
                list(prompt), add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        ids = inputs["input_ids"].to(policy.device)
        with torch.inference_mode():
            out = policy.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
        completions.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return completions


def _policy(model: ModelConfig) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from aligntune_core.model.device import torch_device

    policy = model.name
    if isinstance(policy, str):
        device = torch_device().kind
        policy = AutoModelForCausalLM.from_pretrained(  # an adapter folder too, with its base
            policy,
            revision=model.revision,
            token=model.token.get_secret_value() if model.token else None,
            trust_remote_code=model.trust_remote_code,
            attn_implementation=model.attn_implementation,
            dtype=torch.float32 if device == "cpu" else "auto",
        ).to(device)
    return policy.eval()
