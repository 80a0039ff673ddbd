"""What the worker answers, opened in the parent without importing anything: no answer may bring torch along.

The worker makes numbers plain before they leave (``plain``); the parent opens only what needs no module that it has
not got already (``opened``). An error whose class needs one becomes a RunError that quotes it (``rebuilt``).
"""

from __future__ import annotations

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
        if not isinstance(obj, type) and hasattr(type(obj), "tolist"):
            return _as_it_is, (obj.tolist(),)
        return super().reducer_override(obj)


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


def text_or_value(content: bytes) -> Any:
    """As ``opened``, for a (text, pickled value) pair; the text where the value cannot be had here."""
    text, pickled = content
    try:
        return _open(pickled)
    except Exception:
        return text


@dataclass(frozen=True)
class Failure:
    """An exception on its way.

    Attributes:
        said: "module.Class: message".
        notes: its own, and the worker's traceback.
        pickled: the exception itself; None where it cannot be pickled.
        problem: why it cannot.
    """

    said: str
    notes: list[str]
    pickled: bytes | None
    problem: str = ""


def failure(error: BaseException) -> Failure:
    """What the worker sends of an exception. Its notes travel beside it: a __reduce__ of its own may lose them."""
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    text = "".join(traceback.format_exception(error))
    said = f"{module}{kind.__qualname__}: {error}"
    notes = [*map(str, getattr(error, "__notes__", ())), f"{WORKER_TRACEBACK}\n{text}"]
    try:
        return Failure(said, notes, plain(error))
    except Exception as why:
        return Failure(said, notes, None, f"it cannot be pickled: {why}")


def rebuilt(sent: Failure) -> BaseException:
    """The worker's exception; a RunError that quotes it where its class cannot be had without an import."""
    error, problem = _rebuilt(sent.pickled, sent.problem)
    notes = sent.notes
    if error is None:
        error = RunError(sent.said)
        notes = [*notes, f"the exception itself could not be handed over: {problem}"]
    for note in notes:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    return error


def _rebuilt(pickled: bytes | None, problem: str) -> tuple[BaseException | None, str]:
    if pickled is None:
        return None, problem
    try:
        found = _open(pickled)
    except Exception as why:
        return None, str(why)
    return (found, "") if isinstance(found, BaseException) else (None, "it comes back as something else")
