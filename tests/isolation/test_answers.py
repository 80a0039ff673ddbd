"""What comes back from a worker imports nothing into the parent, and is itself wherever that is possible."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.errors import BadRows, ConfigError, RunError
from aligntune_core.launch.answers import failure, plain, rebuilt, unpickled, value_or_text, value_with_text
from aligntune_core.wording import a_type

LIBRARY = """
class OutOfMemory(RuntimeError):
    pass

class Kind(str):
    pass
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module that the worker has; ``forget`` makes this process one that has not imported it."""
    (tmp_path / "a_heavy_library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("a_heavy_library")
    forget()


def forget() -> None:
    sys.modules.pop("a_heavy_library", None)


def test_an_error_of_a_library_that_is_here_is_itself(library: Any) -> None:
    error = library.OutOfMemory("too big")
    error.add_note("reward 2")
    found = rebuilt(unpickled(plain(failure(error)), "train"))
    assert type(found) is library.OutOfMemory
    assert str(found) == "too big"
    assert found.__notes__[0] == "reward 2"
    assert found.__notes__[1].startswith("traceback in the worker process:")
    assert len(found.__notes__) == 2


def test_an_error_of_a_library_that_is_not_here_is_quoted_and_imports_nothing(library: Any) -> None:
    sent = plain(failure(library.OutOfMemory("too big")))
    forget()
    found = rebuilt(unpickled(sent, "train"))
    assert type(found) is RunError
    assert str(found) == "a_heavy_library.OutOfMemory: too big"
    assert any("OutOfMemory: too big" in note and "worker process" in note for note in found.__notes__)
    assert "needs a_heavy_library" in found.__notes__[0]
    assert "a_heavy_library" not in sys.modules


def test_nor_does_a_function_of_a_script_that_uses_the_library(library: Any) -> None:
    script = {"__name__": "__main__", "library": library}
    exec("class Mine(ValueError):\n    def about(self):\n        return library.OutOfMemory", script)
    sent = plain(failure(script["Mine"]("mine")))
    assert type(rebuilt(unpickled(sent, "train"))) is script["Mine"]
    sent = plain(failure(ValueError("no", library)))
    forget()
    assert type(rebuilt(unpickled(sent, "train"))) is RunError
    assert "a_heavy_library" not in sys.modules


def test_our_own_and_pythons_errors_are_themselves() -> None:
    for error in (ConfigError(["a", "b"], "here"), BadRows("row 0", [1]), KeyError("k"), KeyboardInterrupt()):
        found = rebuilt(unpickled(plain(failure(error)), "train"))
        assert type(found) is type(error)
        assert str(found) == str(error)


class Odd(Exception):
    """Its constructor cannot be called with what it hands on."""

    def __init__(self, one: int, two: int, three: int = 3) -> None:
        super().__init__(f"{one} and {two}")
        self.sum = one + two + three


class Again(Exception):
    """Its constructor can, and would say something else."""

    def __init__(self, one: object, two: object = "more") -> None:
        super().__init__(f"{one} and {two}")


class OddFile(FileNotFoundError):
    def __init__(self, number: int, path: str) -> None:
        super().__init__(number, "no such thing", path)


class OddExit(SystemExit):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one + two)


@dataclass(frozen=True)
class Frozen(Exception):
    one: int
    two: int


def arrived(error: BaseException) -> Any:
    return rebuilt(unpickled(plain(failure(error)), "train"))


@pytest.mark.parametrize(
    "error", [Odd(1, 2), Again(1, 2), OddFile(2, "there"), OddExit(3, 4), Frozen(1, 2)], ids=a_type
)
def test_an_error_whose_constructor_takes_other_arguments_is_itself(error: BaseException) -> None:
    error.__dict__["more"] = {"rows": [1]}
    error.__dict__["__notes__"] = ["reward 2"]
    found = arrived(error)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.args == error.args
    assert {**vars(found), "__notes__": None} == {**vars(error), "__notes__": None}
    assert found.__notes__[0] == "reward 2"
    assert found.__notes__[1].startswith("traceback in the worker process:")
    assert len(found.__notes__) == 2
    for name in ("code", "filename", "errno"):
        assert getattr(found, name, None) == getattr(error, name, None)


def test_what_cannot_travel_of_an_error_is_left_out(library: Any) -> None:
    error = ValueError("too long")
    error.__dict__.update(lock=threading.Lock(), row=3, kind=library.Kind("k"))
    sent = plain(failure(error))
    assert vars(rebuilt(unpickled(sent, "train")))["kind"] == "k"
    forget()
    found = rebuilt(unpickled(sent, "train"))
    assert type(found) is ValueError
    assert str(found) == "too long"
    assert {name: value for name, value in vars(found).items() if name != "__notes__"} == {"row": 3}
    assert "a_heavy_library" not in sys.modules


def test_an_error_that_cannot_be_sent_is_quoted() -> None:
    found = arrived(ValueError("open", (i for i in "ab")))
    assert type(found) is RunError
    assert "ValueError: ('open'" in str(found)
    assert "cannot pickle" in str(found)


def test_an_error_that_cannot_say_what_it_is_without_what_was_left_out_is_quoted() -> None:
    class Response(Exception):
        def __str__(self) -> str:
            return f"answer {self.lock.locked()}"

        lock: Any

    error = Response()
    error.lock = threading.Lock()
    found = arrived(error)
    assert type(found) is RunError
    assert str(found).endswith("Response: answer False")


def test_numbers_of_a_library_arrive_as_pythons() -> None:
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    figures = {
        "a": numpy.float64(1.5),
        "b": torch.tensor(2.0, requires_grad=True),
        "c": torch.ones(2),
        "d": 3,
    }
    found = unpickled(plain({**figures, numpy.str_("e"): [numpy.int64(4)]}), "evaluate")
    assert found == {"a": 1.5, "b": 2.0, "c": [1.0, 1.0], "d": 3, "e": [4]}
    assert {type(v) for v in found.values()} == {float, list, int}
    assert type(found["e"][0]) is int
    assert {type(k) for k in found} == {str}


def test_an_answer_that_would_import_is_refused_and_a_value_in_force_told_as_text(library: Any) -> None:
    answer, value = plain({"x": library.Kind("k")}), value_with_text(library.Kind("k"))
    assert type(value_or_text(value)) is library.Kind
    assert value_or_text(value_with_text(i for i in "ab")).startswith("<generator")
    forget()
    with pytest.raises(RunError, match=r"answered to evaluate cannot be opened .* a_heavy_library"):
        unpickled(answer, "evaluate")
    assert value_or_text(value) == "'k'"
    assert "a_heavy_library" not in sys.modules
