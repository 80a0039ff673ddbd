"""Callables as rewards. Each is called as its signature says and once only, also where it fails.

A batch function is called in TRL's form: ``f(prompts=..., completions=..., completion_ids=..., **columns)``, each
a list with one entry a sample: texts where the rows' prompts are texts (unless the function reads messages), else
conversations. A per-sample function is called once a sample, with text, and with its own row's values for the columns
that it declares.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from aligntune_core.errors import RewardError
from aligntune_core.rewards.batch import Samples, checked
from aligntune_core.rewards.signature import BATCH_NAMES, TEXT_NAMES, Signature, signature_of
from aligntune_core.rewards.text import completion_text, prompt_text
from aligntune_core.wording import listed

_IN_PLURAL = {"prompt": "prompts", "completion": "completions"}
# Arguments that trainers pass to functions of TRL's form beside the batch and the rows' columns.
TRAINERS_OWN = ("trainer_state", "log_extra", "log_metric", "environments")
# Names for the right answer of a row. A function that declares one of them gets the column of that name, or else the
# first of these that the rows have.
REFERENCE_NAMES = (
    *("reference", "answer", "solution", "ground_truth"),
    *("target", "label", "expected", "final_answer"),
)

SAMPLES_NAMED = 8
"""Samples of a batch that the note on an exception names."""


def reference_column(columns: Collection[str]) -> str | None:
    """The column that holds the right answers, or None."""
    return next((name for name in REFERENCE_NAMES if name in columns), None)


@dataclass(frozen=True)
class FunctionReward:
    """A callable as a reward."""

    name: str  # what metrics and errors call it
    function: Callable[..., Any]  # the callable; it may be a coroutine function
    # Keyword arguments of every call; they win over columns of the same name.
    params: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0  # factor in the total
    signature: Signature = field(init=False)  # how it is called

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", signature_of(self.function, self.name))

    @property
    def wants_tokens(self) -> bool:
        """Whether it declares ``completion_ids``."""
        return "completion_ids" in (*self.signature.keywords, self.signature.first)

    @property
    def reads_reference(self) -> bool:
        """Whether it declares a name of the right answer, or takes any column."""
        names = (*REFERENCE_NAMES, "reasoning_gym")
        return self.signature.open or any(name in self.signature.keywords for name in names)

    def load(self) -> None:
        """Nothing to do."""

    def score(self, batch: Samples) -> list[float]:
        """One number a sample.

        Raises:
            RewardError: it gave something else, or the rows lack what it needs.
            Exception: whatever the function raises, with a note that names it and the sample.
        """
        if self.signature.shape == "batch":
            [values] = self._called([((), self._batch_arguments(batch))], lambda _, e: self._blame(batch, e))
        else:
            calls = (self._arguments(batch, index) for index in range(len(batch)))
            values = self._called(calls, lambda index, _: f"raised on {batch.described(index)}")
        return checked(self.name, values, batch)

    def _called(
        self,
        calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]],
        blame: Callable[[int, BaseException], str],
    ) -> list[Any]:
        """The result of each call, awaited where it is a coroutine; an exception gets a note."""

        def noted(index: int, error: BaseException) -> BaseException:
            error.add_note(f'reward "{self.name}" {blame(index, error)}')
            return error

        results: list[Any] = []
        for index, (args, kwargs) in enumerate(calls):
            try:
                results.append(self.function(*args, **kwargs))
            except Exception as error:
                noted(index, error)
                raise
        if any(map(inspect.isawaitable, results)):
            results = _awaited(results)
            for index, result in enumerate(results):
                if isinstance(result, BaseException):
                    raise noted(index, result)
        return results

    def _batch_arguments(self, batch: Samples) -> dict[str, Any]:
        offered = {**self._references(batch.columns), **batch.columns, **batch.extras}
        offered |= {"prompts": batch.prompts, "completions": batch.completions}
        if batch.text_prompts and self.signature.form != "messages":
            offered["prompts"] = [prompt_text(prompt) for prompt in batch.prompts]
            offered["completions"] = [completion_text(completion) for completion in batch.completions]
        if batch.completion_ids is not None:
            offered["completion_ids"] = batch.completion_ids
        return self._keywords(offered, batch.columns)

    def _blame(self, batch: Samples, error: BaseException) -> str:
        """Names the samples of the call; only further calls could tell on which of them it raised."""
        size = len(batch)
        note = f"raised on a batch of {size}"
        if size:
            note += ": " + ", ".join(batch.described(index) for index in range(min(size, SAMPLES_NAMED)))
        if size > SAMPLES_NAMED:
            note += f" and {size - SAMPLES_NAMED} more"
        unsaid = batch.text_prompts and self.signature.form is None
        if unsaid and isinstance(error, TypeError | AttributeError | LookupError):
            note += (
                ". It was given texts, as the rows' prompts are; if it reads messages, annotate its completions as "
                'list[list[dict[str, str]]] or decorate it with aligntune_core.rewards.reads("messages")'
            )
        return note

    def _arguments(self, batch: Samples, index: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of the call for one sample."""
        text, prompt = completion_text(batch.completions[index]), prompt_text(batch.prompts[index])
        row = {name: values[index] for name, values in batch.columns.items()}
        texts = {name: text for name in TEXT_NAMES if name in self.signature.keywords}
        # A column of the rows wins over our reading of a name, but for the first parameter, which is always ours.
        offered = {**self._references(row), **texts, "prompt": prompt, **row}
        if batch.completion_ids is not None:
            offered["completion_ids"] = batch.completion_ids[index]
        name = str(self.signature.first)
        offered[name] = prompt if name == "prompt" else text
        keywords = self._keywords(offered, row)
        if not self.signature.first_positional:
            return (), keywords
        del keywords[name]
        return (offered[name],), keywords

    def _references(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """The right answers under each name for them that the function declares."""
        column = reference_column(columns)
        names = [n for n in REFERENCE_NAMES if n in self.signature.keywords]
        if self.signature.open and self.signature.shape == "sample":
            names.append("reference")
        return {} if column is None else dict.fromkeys(names, columns[column])

    def check_columns(self, columns: Collection[str]) -> None:
        """Refuse rows, given by the names of their columns, that lack one which it cannot do without.

        Raises:
            RewardError: says which, as scoring would.
        """
        offered = {*columns, "completion_ids"}
        if self.signature.shape == "batch":
            offered = {*columns, *BATCH_NAMES, *TRAINERS_OWN} - _IN_PLURAL.keys()
        else:
            offered |= {"prompt", *TEXT_NAMES}
        if reference_column(columns) is not None:
            offered |= {*REFERENCE_NAMES}
        self._keywords(dict.fromkeys(offered), columns)

    def _keywords(self, offered: dict[str, Any], columns: Collection[str]) -> dict[str, Any]:
        """The keyword arguments of a call: those of the offered values that the function takes, then its own params."""
        keywords = {**{n: v for n, v in offered.items() if self.signature.takes(n)}, **self.params}
        lacking = [n for n, required in self.signature.keywords.items() if required and n not in keywords]
        if single := [n for n in lacking if n in _IN_PLURAL]:
            plural = listed(_IN_PLURAL[n] for n in single)
            reason = f"{listed(single)}; a function of a batch is given {plural}"
        else:
            reason = (
                f"{listed(lacking)}, which the rows do not have; they have "
                f"{listed(sorted({'prompt', *columns}))}. {_remedy(lacking)}"
            )
        if lacking:
            raise RewardError(f'reward "{self.name}" needs {reason}', self.name)
        return keywords


def _remedy(lacking: Sequence[str]) -> str:
    if "reasoning_gym" in lacking:
        return 'Use a dataset "reasoning_gym/TASK", e.g. reasoning_gym/chain_sum'
    if "completion_ids" in lacking:
        return "Token ids come with the trainer; outside of one, give build_rewards a tokenizer"
    if any(name in REFERENCE_NAMES for name in lacking):
        return f"Name the column with the right answers by column_mapping; names known are {listed(REFERENCE_NAMES)}"
    return "Map a column to that name by column_mapping, or set it in the reward's params"


def _awaited(results: Sequence[Any]) -> list[Any]:
    """Await what is awaitable, all at once, and give an exception in its place.

    In an event loop and thread of its own, as a notebook's loop already runs in this thread.
    """

    async def one(result: Any) -> Any:
        return await result if inspect.isawaitable(result) else result

    async def everything() -> list[Any]:
        return await asyncio.gather(*map(one, results), return_exceptions=True)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, everything()).result()
