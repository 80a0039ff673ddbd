"""Answers of a worker process, opened in the parent without importing anything: no answer may bring torch along.

The worker turns numbers into Python's and takes exceptions apart (``plain``); the parent opens only what
needs no module that it has not imported (``unpickled``). An error whose class needs one becomes a RunError that quotes
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

# Packages that may be imported to open an answer, beside the standard library: they are light.
LIGHT = frozenset({"aligntune", "aligntune_core"})


def _as_it_is(value: Any) -> Any:
    return value


class _Plain(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions and classes of a script by value, and a library's scalars and arrays as plain numbers."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException):
            return _pieces(obj)
        if not isinstance(obj, type) and hasattr(type(obj), "tolist"):
            return _as_it_is, (obj.tolist(),)
        return super().reducer_override(obj)


def _pieces(error: BaseException) -> Any:
    """Reduce an exception so that no code of its class runs when it is opened, as its constructor may take more.

    Its built-in base gives its own state (the filename of an OSError, the code of a SystemExit) and takes it back. Each
    attribute is pickled by itself, and left out where that fails: an open file, a lock. Notes travel apart.
    """
    kind = type(error)
    base = _built_in(kind)
    _, args, *more = base.__reduce__(error)
    try:
        base.__new__(kind, *args)
    except TypeError:  # a class of compiled code pickles itself in its own way
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
        with contextlib.suppress(Exception):  # an attribute whose library is not imported here is left out
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
        if name == "subimport":  # the function by which cloudpickle imports a module
            return _module
        _check(module)
        return super().find_class(module, name)


def _open(content: bytes) -> Any:
    return _Guarded(io.BytesIO(content)).load()


def unpickled(content: bytes, method: str) -> Any:
    """Unpickle an answer of the worker's ``method`` that ``plain`` pickled.

    Raises:
        RunError: it cannot be opened here.
    """
    try:
        return _open(content)
    except Exception as error:
        raise RunError(
            f"what the worker process answered to {method} cannot be opened in this process: {error}. "
            "Import that here first, or create the trainer without isolation."
        ) from error


def value_with_text(value: Any) -> tuple[str, bytes]:
    """Pickle a value together with its text, for a parent that has not imported the library of its type."""
    text = repr(value)
    try:
        return text, plain(value)
    except Exception:  # the value cannot be pickled, so its text stands for it
        return text, plain(text)


def value_or_text(sent: tuple[str, bytes]) -> Any:
    """Unpickle the pair of ``value_with_text``: the value, or its text where the value would import something."""
    text, content = sent
    try:
        return _open(content)
    except Exception:  # the text is what was sent for this case
        return text


def _quoted(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}: {error}"


@dataclass(frozen=True)
class Failure:
    """An exception on its way to the parent."""

    text: str  # "module.Class: message", and why the exception itself cannot be sent, where it cannot
    notes: list[str]  # its own, and the worker's traceback
    content: bytes  # the exception, pickled; empty where that cannot be done


def failure(error: BaseException) -> Failure:
    """Pack an exception for the parent."""
    text = "".join(traceback.format_exception(error))
    notes = [*map(str, getattr(error, "__notes__", ())), f"{WORKER_TRACEBACK}\n{text}"]
    try:
        return Failure(_quoted(error), notes, plain(error))
    except Exception as refused:
        return Failure(f"{_quoted(error)} (the exception itself cannot be sent: {refused})", notes, b"")


def rebuilt(sent: Failure) -> BaseException:
    """The worker's exception; a RunError that quotes it where its class cannot be had without an import."""
    error: BaseException = RunError(sent.text)
    notes = sent.notes
    if sent.content:
        try:
            itself = _open(sent.content)
            _quoted(itself)  # its text may need an attribute that was left out
            error = itself
        except Exception as refused:
            notes = [f"the exception itself cannot be opened in this process: {refused}", *notes]
    object.__setattr__(error, "__notes__", list(notes))  # add_note() fails on a frozen dataclass
    return error
