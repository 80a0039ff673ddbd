"""The calling form of a function, read once from its parameters, their annotations and its own declaration."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

from aligntune_core.errors import ConfigError
from aligntune_core.wording import listed

CallShape = Literal["batch", "sample"]
TextForm = Literal["texts", "messages"]

BATCH_NAMES = ("completions", "prompts", "completion_ids")
TEXT_NAMES = ("text", "completion", "response", "output", "generation", "generated_text")

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_DECLARED = "reward_reads"

Function = TypeVar("Function", bound=Callable[..., Any])


def reads(form: TextForm) -> Callable[[Function], Function]:
    """A decorator that declares what a function of a batch reads where the rows' prompts are texts.

    Args:
        form: "texts" (each prompt and completion a string) or "messages" (each a list of messages); the decorated
            function has it as its attribute ``reward_reads``.
    """

    def declare(function: Function) -> Function:
        setattr(function, _DECLARED, form)
        return function

    return declare


@dataclass(frozen=True)
class Signature:
    """The calling form of a function."""

    shape: CallShape  # "batch" or "sample"
    first: str | None  # its first parameter, None for ``**kwargs`` alone
    first_positional: bool  # whether that one is passed by position
    keywords: Mapping[str, bool]  # the other parameters that take a keyword -> whether they are required
    open: bool  # whether it takes ``**kwargs``
    # What a function of a batch reads of rows with text prompts; None where nothing tells, which means texts.
    form: TextForm | None = None

    def takes(self, name: str) -> bool:
        """Whether this keyword may be passed."""
        return self.open or name in self.keywords or name == self.first


def signature_of(function: Callable[..., Any], name: str) -> Signature:
    """Read a callable's signature.

    Raises:
        ConfigError: the first parameter does not tell whether it takes a batch or one sample, or ``reward_reads`` is
            neither "texts" nor "messages".
    """
    if not callable(function):
        raise ConfigError(f'reward "{name}" is {function!r}, which cannot be called')
    try:
        signature = inspect.signature(function)
    except ValueError as error:
        raise ConfigError(
            f'reward "{name}": its parameters cannot be read ({error}); wrap it in a function'
        ) from error
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    declared = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    first = declared[0] if declared else None
    shape = _shape(declared, takes_any)
    if shape is None:
        raise ConfigError(
            f'reward "{name}": its first parameter, {first.name if first else "missing"}, does not tell how to '
            f"call it. A function of a batch starts with {listed(BATCH_NAMES)}; one of a single sample with "
            f"{listed((*TEXT_NAMES, 'prompt'))}"
        )
    keywords = {
        p.name: p.default is p.empty for p in declared if p is not first and p.kind is not p.POSITIONAL_ONLY
    }
    if shape == "batch" and first is not None:
        keywords[first.name] = first.default is first.empty
    positional = shape == "sample" and first is not None and first.kind in _POSITIONAL
    form = _form(function, name, declared) if shape == "batch" else None
    return Signature(shape, first.name if first else None, positional, keywords, takes_any, form)


def _shape(declared: Iterable[inspect.Parameter], takes_any: bool) -> CallShape | None:
    """Whether the parameters are those of a batch or of one sample; None where they do not tell."""
    names = [p.name for p in declared]
    if not names:
        return "batch" if takes_any else None
    if names[0] in TEXT_NAMES or names[0] == "prompt":
        return "sample"
    # TRL calls by keyword, so the order of a function written for it is free.
    return "batch" if any(name in BATCH_NAMES for name in names) else None


# --- texts or messages -----------------------------------------------------------------------------------------------


def _form(function: Any, name: str, declared: Iterable[inspect.Parameter]) -> TextForm | None:
    """The form that the function declares, or else the one that its completions' or its prompts' annotation shows."""
    inner = function
    while not hasattr(inner, _DECLARED) and hasattr(inner, "func"):  # functools.partial
        inner = inner.func
    form: TextForm | None = getattr(inner, _DECLARED, None)
    if form is not None:
        if form not in typing.get_args(TextForm):
            raise ConfigError(f'reward "{name}": {_DECLARED} is {form!r}; it must be "texts" or "messages"')
        return form
    annotations = {p.name: _resolved(p.annotation, inner) for p in declared}
    forms = [_annotated(annotations.get(parameter)) for parameter in ("completions", "prompts")]
    return next((form for form in forms if form is not None), None)


def _resolved(annotation: Any, function: Any) -> Any:
    """The annotation as a type; None for one whose names exist for a type checker only."""
    if not isinstance(annotation, str):
        return annotation
    code = inspect.unwrap(function)
    if not hasattr(code, "__globals__"):  # a method keeps them on its function, an object on its class
        code = getattr(code, "__func__", type(code).__call__)
    holder = SimpleNamespace(__annotations__={"value": annotation})
    try:
        return typing.get_type_hints(holder, getattr(code, "__globals__", {}))["value"]
    except (NameError, SyntaxError, TypeError, AttributeError):
        return None


def _annotated(annotation: Any) -> TextForm | None:
    """The form of prompts or completions with this annotation: ``list[str]`` is texts, ``list[list[...]]`` and
    ``list[dict]`` are messages; anything else, ``Any`` and unions among it, is None."""
    arguments = typing.get_args(annotation)
    if not arguments or not _is_collection(typing.get_origin(annotation)):
        return None
    entry = typing.get_origin(arguments[0]) or arguments[0]
    if entry is str:
        return "texts"
    return "messages" if _is_collection(entry) else None


def _is_collection(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Iterable) and kind is not str
