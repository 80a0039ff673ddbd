"""What a run scores with: rewards and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aligntune_core.errors import RewardError
from aligntune_core.rewards.batch import Batch, Reward, checked
from aligntune_core.rewards.model import RewardModel
from aligntune_core.rewards.text import TextOrMessages, completion_text
from aligntune_core.wording import listed

# What TRL keeps to itself when it hands a row's columns to reward functions.
_RESERVED = ("prompt", "completion", "completion_ids")


@dataclass(frozen=True)
class Scores:
    """What a set of rewards says of a batch.

    Attributes:
        names: of the rewards, in their order.
        values: one list a reward, each with one number a sample, unweighted.
        total: the weighted sum, one number a sample.
    """

    names: tuple[str, ...]
    values: list[list[float]]
    total: list[float]


@dataclass(frozen=True)
class ModelReward:
    """A reward model as a reward."""

    name: str
    model: RewardModel
    weight: float = 1.0
    wants_tokens: bool = False
    reads_reference: bool = False

    def load(self) -> None:
        """Read the weights."""
        try:
            self.model.load()
        except Exception as error:
            error.add_note(f'reward "{self.name}" could not be loaded from {self.model.label}')
            raise

    def score(self, batch: Batch) -> list[float]:
        """The model's output for each sample."""
        self.load()
        return checked(self.name, self.model.score(batch.prompts, batch.completions), batch)


class RewardSet:
    """The rewards of a run, each with its weight.

    Attributes:
        rewards: in the order of the configuration, the reward model of ``reward_model_name`` last.
        text_prompts: whether the rows' prompts were plain texts (``DataReport.text_prompts``).
    """

    def __init__(self, rewards: Sequence[Reward], tokenizer: Any = None, text_prompts: bool = False) -> None:
        self.rewards: tuple[Reward, ...] = tuple(rewards)
        self.text_prompts = text_prompts
        self._tokenizer = tokenizer

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rewards, each once."""
        return tuple(reward.name for reward in self.rewards)

    @property
    def weights(self) -> tuple[float, ...]:
        """Their weights."""
        return tuple(reward.weight for reward in self.rewards)

    def __len__(self) -> int:
        return len(self.rewards)

    def load(self) -> None:
        """Load every reward model now rather than at the first score."""
        for reward in self.rewards:
            reward.load()

    def batch(
        self,
        prompts: Sequence[TextOrMessages],
        completions: Sequence[TextOrMessages],
        columns: Mapping[str, Sequence[Any]] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> Batch:
        """Put samples together; see ``score``."""
        columns = {name: values for name, values in (columns or {}).items() if name not in _RESERVED}
        lengths = {"prompts": len(prompts), **{name: len(values) for name, values in columns.items()}}
        if completion_ids is not None:
            lengths["completion_ids"] = len(completion_ids)
        wrong = [f"{name} has {n}" for name, n in lengths.items() if n != len(completions)]
        if wrong:
            raise RewardError(f"{len(completions)} completions are to be scored, but {listed(wrong)}")
        if (
            completion_ids is None
            and self._tokenizer is not None
            and any(r.wants_tokens for r in self.rewards)
        ):
            texts = [completion_text(c) for c in completions]
            completion_ids = [self._tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        return Batch(
            prompts=prompts,
            completions=completions,
            columns=columns,
            completion_ids=completion_ids,
            extras=extras or {},
            text_prompts=self.text_prompts,
        )

    def score(
        self,
        prompts: Sequence[TextOrMessages],
        completions: Sequence[TextOrMessages],
        columns: Mapping[str, Sequence[Any]] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> Scores:
        """Score completions with every reward.

        Args:
            prompts: one a completion: strings, or message lists.
            completions: strings, or message lists.
            columns: the rows' other columns, repeated to one value a completion.
            completion_ids: token ids of the completions; by default the tokenizer's, where a reward reads them.
            extras: passed whole to functions of TRL's form: ``trainer_state``, ``log_extra``, ``log_metric``.

        Raises:
            RewardError: a reward gave a wrong number of values, None, NaN or no number (the sample is named), or the
                rows lack a column that it needs.
            Exception: what a reward raised, with a note that names it and the sample.
        """
        batch = self.batch(prompts, completions, columns, completion_ids, extras)
        values = [reward.score(batch) for reward in self.rewards]
        total = [
            sum(w * v for w, v in zip(self.weights, sample, strict=True))
            for sample in zip(*values, strict=True)
        ]
        return Scores(self.names, values, total)
