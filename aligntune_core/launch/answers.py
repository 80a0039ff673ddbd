"""What the worker answers, opened in the parent without importing anything: no answer may bring torch along.

The worker makes numbers plain before they leave and takes exceptions to pieces (``plain``); the parent opens only what
needs no module that it has not got already (``opened``). An error whose class needs one becomes a RunError that quotes
it (``rebuilt``).
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import traceback
from dataclasses import dataclass
from typing import Any

import cloudpickle

from aligntune_core.errors import WORKER_TRACEBACK, RunError

# Besides the standard library: what is imported where it is needed, since it is known to be light.
LIGHT = frozenset({"aligntune", "aligntune_core"})


def _as_it_is(value: Any) -> Any:
    return value


class _Plain(cloudpickle.Pickler):  # type: ignore[misc]
    """By value where needed (functions, classes of a script); scalars and arrays of a library as plain numbers."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException):
            return _pieces(obj)
        if not isinstance(obj, type) and hasattr(type(obj), "tolist"):
            return _as_it_is, (obj.tolist(),)
        return super().reducer_override(obj)


def _pieces(error: BaseException) -> Any:
    """How to pickle an exception so that nothing of its class runs when it is opened, for a constructor may want more.

    Its built-in base says what it holds (the filename of an OSError, the code of a SystemExit) and takes it again. Each
    attribute is pickled by itself and goes without where it cannot be: an open file, a lock. Notes travel apart.
    """
    kind = type(error)
    base = _built_in(kind)
    _, args, *more = base.__reduce__(error)
    try:
        base.__new__(kind, *args)
    except TypeError:  # a class of compiled code, which says itself how it is pickled
        return NotImplemented
    state = {}
    for name, value in ((more and more[0]) or {}).items():
        if name != "__notes__":
            with contextlib.suppress(Exception):
                state[name] = plain(value)
    return _assembled, (kind, args, state)


def _assembled(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, bytes]) -> BaseException:
    base = _built_in(kind)
    error: BaseException = base.__new__(kind, *args)
    base.__init__(error, *args)
    for name, content in state.items():
        with contextlib.suppress(Exception):  # what needs a library that is not here
            object.__setattr__(error, name, _open(content))
    return error


def _built_in(kind: type) -> Any:
    while kind.__module__ != "builtins":
        kind = kind.__base__ or BaseException
    return kind


def plain(value: Any) -> bytes:
    """Pickle an answer, with numpy's and torch's numbers as Python's."""
    buffer = io.BytesIO()
    _Plain(buffer).dump(value)
    return buffer.getvalue()


def _check(module: str) -> None:
    top = module.partition(".")[0]
    if module not in sys.modules and top not in LIGHT and top not in sys.stdlib_module_names:
        raise pickle.UnpicklingError(f"it needs {module}, which this process has not imported")


def _module(name: str) -> Any:
    _check(name)
    return cloudpickle.cloudpickle.subimport(name)


class _Guarded(pickle.Unpickler):
    """Refuses whatever would import a library."""

    def find_class(self, module: str, name: str, /) -> Any:
        if name == "subimport":  # how cloudpickle has a module imported
            return _module
        _check(module)
        return super().find_class(module, name)


def _open(content: bytes) -> Any:
    return _Guarded(io.BytesIO(content)).load()


def opened(content: bytes, asked: str) -> Any:
    """What ``plain`` pickled.

    Args:
        content: from the worker.
        asked: what it was asked for, for the message.

    Raises:
        RunError: it cannot be opened here.
    """
    try:
        return _open(content)
    except Exception as error:
        raise RunError(
            f"what the worker process answered to {asked} cannot be opened in this process: {error}. "
            "Import that here first, or create the trainer without isolation."
        ) from error


def parcel(value: Any) -> tuple[str, bytes]:
    """A value that may be of the library's own kind, with its text for a parent that cannot have it."""
    text = repr(value)
    try:
        return text, plain(value)
    except Exception:  # nothing that can travel; a text says what it is
        return text, plain(text)


def value_or_text(sent: tuple[str, bytes]) -> Any:
    """What ``parcel`` packed; its text where the value would import something."""
    text, content = sent
    try:
        return _open(content)
    except Exception:  # the text is what was sent for this case
        return text


def _said(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}: {error}"


@dataclass(frozen=True)
class Failure:
    """An exception on its way.

    Attributes:
        said: "module.Class: message".
        notes: its own, and the worker's traceback.
        content: the exception, pickled; empty where that cannot be done.
        why: then what hindered it, in words to add to ``said``.
    """

    said: str
    notes: list[str]
    content: bytes
    why: str = ""


def failure(error: BaseException) -> Failure:
    """What the worker sends of an exception."""
    text = "".join(traceback.format_exception(error))
    notes = [*map(str, getattr(error, "__notes__", ())), f"{WORKER_TRACEBACK}\n{text}"]
    try:
        return Failure(_said(error), notes, plain(error))
    except Exception as refused:
        return Failure(_said(error), notes, b"", f" (the exception itself cannot be sent: {refused})")


def rebuilt(sent: Failure) -> BaseException:
    """The worker's exception; a RunError that quotes it where its class cannot be had without an import."""
    error: BaseException = RunError(sent.said + sent.why)
    notes = sent.notes
    if sent.content:
        try:
            itself = _open(sent.content)
            _said(itself)  # which may need what was left out
            error = itself
        except Exception as refused:
            notes = [f"the exception itself cannot be opened in this process: {refused}", *notes]
    object.__setattr__(error, "__notes__", list(notes))  # add_note() fails on a frozen dataclass
    return error
