"""``Backend``: a typed facade over one backend's hooks, one method a hook. Nothing else in core calls a hook."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from aligntune_core.data.vocabulary import within
from aligntune_core.entrypoints import Distribution, EntryPoint
from aligntune_core.errors import BackendUnavailable, HookError
from aligntune_core.model.device import probe
from aligntune_core.types import (
    BackendInfo,
    Datasets,
    Engine,
    LoadedModel,
    LossOn,
    Prepared,
    RowTokens,
    RunContext,
    Support,
)
from aligntune_core.wording import listed

if TYPE_CHECKING:
    from aligntune_core.config import Config

T = TypeVar("T")

# How core calls each method of an Engine: positional arguments, names of the others.
_CALLS: dict[str, tuple[int, tuple[str, ...]]] = {
    "effective": (0, ()),
    "train": (0, ("resume_from",)),
    "evaluate": (1, ()),
    "save": (2, ()),
    "generate": (2, ()),
    "close": (0, ()),
}
_ENGINE = ("native", "model", *_CALLS)


@dataclass(frozen=True)
class Backend:
    """A loaded, validated backend.

    Every method calls the hook of its name. Exceptions from a hook pass through as they are, with a note that
    names backend, distribution and hook.
    """

    name: str  # its entry point's name: "trl"
    info: BackendInfo  # what ``backend_info`` answered, with what extensions add
    distribution: Distribution  # who brought it
    extensions: tuple[EntryPoint, ...]  # extensions registered over it
    _hooks: Any = field(repr=False, compare=False)

    def __str__(self) -> str:
        """'backend "trl" (aligntune-trl 1.0.0)', with its extensions."""
        more = listed(f"{e.name} of {e.distribution}" for e in self.extensions)
        return (
            f'backend "{self.name}" ({self.distribution}{f"; extended by {more}" if self.extensions else ""})'
        )

    def supports(self, algorithm: str) -> Support:
        """Whether this backend trains ``algorithm``, and why not.

        Raises:
            HookError: no implementation answered, or not with a bool or ``Support``.
        """
        answer = self._call("supports_algorithm", algorithm=algorithm)
        return (
            Support(answer)
            if isinstance(answer, bool)
            else self._typed("supports_algorithm", answer, Support)
        )

    def prepare(self, config: Config) -> Prepared:
        """Judge the device, import the library, load the tokenizer.

        Raises:
            BackendUnavailable: the device is none that the backend can train on.
            HookError: not a ``Prepared``.
        """
        prepared = self._typed("prepare", self._call("prepare", config=config), Prepared)
        if prepared.device.kind not in (*self.info.devices, *self.info.opt_in_devices):
            raise BackendUnavailable(
                f"{self} trains on {listed(self.info.devices)}; "
                f"this process would use {prepared.device.kind}. {probe()}"
            )
        return prepared

    def problems(self, config: Config) -> list[str]:
        """One sentence for each combination in a configuration that the backend or an extension cannot run.

        Raises:
            HookError: an answer is no list of sentences.
        """
        return self._sentences("problems", config=config)

    def planned(self, config: Config, prepared: Prepared) -> Mapping[str, Any]:
        """The values that the library would use, read back from its own argument objects."""
        answer = self._call("planned", config=config, prepared=prepared)
        if not isinstance(answer, Mapping):
            raise self._wrong("planned", answer, "; it must return a mapping")
        return answer

    def remarks(self, config: Config, prepared: Prepared) -> list[str]:
        """One sentence for each thing that the backend or an extension has to say of a run before weights load.

        Raises:
            HookError: an answer is no list of sentences.
        """
        return self._sentences("remarks", config=config, prepared=prepared)

    def tokenize(
        self, rows: Sequence[Mapping[str, Any]], loss: LossOn, config: Config, prepared: Prepared
    ) -> list[RowTokens]:
        """Return canonical rows as the library will see them.

        Raises:
            HookError: not one ``RowTokens`` a row, or tokens for some of the rows only.
        """
        answer = self._call("tokenize", rows=rows, loss=loss, config=config, prepared=prepared)
        if not isinstance(answer, (list, tuple)) or not all(isinstance(row, RowTokens) for row in answer):
            raise self._wrong("tokenize", answer, "; it must return a list of aligntune_core.RowTokens")
        if len(answer) != len(rows):
            raise HookError(
                f"hook tokenize of {self} returned {len(answer)} RowTokens for {len(rows)} rows; it must return one a "
                "row, in order"
            )
        columns = {tuple(row.columns or ()) for row in answer if not row.problem}
        if len(columns) > 1:
            raise HookError(
                f"hook tokenize of {self} returned rows with different columns of tokens: "
                f"{'; '.join(sorted(listed(names) for names in columns))}. All rows have the same, or none has any"
            )
        return within(rows, answer, prepared.tokenizer, prepared.vocabulary)

    def load_model(self, config: Config, prepared: Prepared) -> LoadedModel:
        """Load the policy's weights."""
        return self._typed(
            "load_model", self._call("load_model", config=config, prepared=prepared), LoadedModel
        )

    def apply_peft(self, loaded: LoadedModel, config: Config, prepared: Prepared) -> LoadedModel:
        """Wrap the model in an adapter, or attach an adapter configuration."""
        answer = self._call("apply_peft", loaded=loaded, config=config, prepared=prepared)
        return self._typed("apply_peft", answer, LoadedModel)

    def build_trainer(
        self, loaded: LoadedModel, config: Config, datasets: Datasets, prepared: Prepared, run: RunContext
    ) -> Engine:
        """Build the library's trainer behind the ``Engine`` protocol.

        Raises:
            HookError: a member of ``Engine`` is missing, or does not take what core passes.
        """
        engine = self._call(
            "build_trainer", loaded=loaded, config=config, datasets=datasets, prepared=prepared, run=run
        )
        lacking = [name for name in _ENGINE if not _has(engine, name)]
        if lacking:
            lack = f", which is no Engine: it lacks {listed(lacking)}. See aligntune_core.types.Engine."
            raise self._wrong("build_trainer", engine, lack)
        if wrong := _uncallable(engine):
            faults = f", which core cannot call: {'; '.join(wrong)}. See aligntune_core.types.Engine."
            raise self._wrong("build_trainer", engine, faults)
        return engine  # type: ignore[no-any-return]

    def _sentences(self, hook: str, **arguments: Any) -> list[str]:
        """What all answers to a hook say, each sentence once."""
        sentences: list[str] = []
        for answer in self._call(hook, **arguments):
            if not isinstance(answer, (list, tuple)) or not all(isinstance(text, str) for text in answer):
                raise self._wrong(hook, answer, "; it must return a list of strings")
            sentences += answer
        return list(dict.fromkeys(sentences))

    def _call(self, hook: str, **arguments: Any) -> Any:
        """The hook's answer, never None."""
        try:
            answer = getattr(self._hooks, hook)(**arguments)
        except Exception as error:
            note = f"raised in hook {hook} of {self}"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise
        if answer is None:
            raise HookError(f"hook {hook} of {self} returned None: no implementation answered it")
        return answer

    def _typed(self, hook: str, answer: Any, kind: type[T]) -> T:
        if isinstance(answer, kind):
            return answer
        raise self._wrong(hook, answer, f"; it must return aligntune_core.{kind.__name__}")

    def _wrong(self, hook: str, answer: object, fault: str) -> HookError:
        return HookError(f"hook {hook} of {self} returned {_described(answer)}{fault}")


def _has(engine: object, name: str) -> bool:
    """Whether a member is there, without running properties; a class's ``__getattr__`` is asked too."""
    try:
        inspect.getattr_static(engine, name)
    except AttributeError:
        return hasattr(type(engine), "__getattr__") and hasattr(engine, name)
    return True


def _uncallable(engine: object) -> list[str]:
    """One phrase for each method that does not take the arguments that core passes."""
    wrong = []
    for name, (positional, keywords) in _CALLS.items():
        method = getattr(engine, name)
        if not callable(method):
            wrong.append(f"{name} is no method")
            continue
        try:
            signature = inspect.signature(method)
        except ValueError:  # compiled code has no signature to read
            continue
        try:
            signature.bind(*[None] * positional, **dict.fromkeys(keywords))
        except TypeError as error:
            wrong.append(f"{name}{signature}: {error}")
    return wrong


def _described(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
