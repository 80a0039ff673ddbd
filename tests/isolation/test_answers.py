"""What comes back from a worker imports nothing into the parent, and is itself wherever that is possible."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.errors import BadRows, ConfigError, RunError
from aligntune_core.isolation.answers import failure, opened, parcel, plain, rebuilt, value_or_text

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
    found = rebuilt(opened(plain(failure(error)), "train"))
    assert type(found) is library.OutOfMemory
    assert str(found) == "too big"
    assert found.__notes__[0] == "reward 2"
    assert found.__notes__[1].startswith("traceback in the worker process:")
    assert len(found.__notes__) == 2


def test_an_error_of_a_library_that_is_not_here_is_quoted_and_imports_nothing(library: Any) -> None:
    sent = plain(failure(library.OutOfMemory("too big")))
    forget()
    found = rebuilt(opened(sent, "train"))
    assert type(found) is RunError
    assert str(found) == "a_heavy_library.OutOfMemory: too big"
    assert any("OutOfMemory: too big" in note and "worker process" in note for note in found.__notes__)
    assert "needs a_heavy_library" in found.__notes__[0]
    assert "a_heavy_library" not in sys.modules


def test_nor_does_a_function_of_a_script_that_uses_the_library(library: Any) -> None:
    script = {"__name__": "__main__", "library": library}
    exec("class Mine(ValueError):\n    def about(self):\n        return library.OutOfMemory", script)
    sent = plain(failure(script["Mine"]("mine")))
    assert type(rebuilt(opened(sent, "train"))) is script["Mine"]
    sent = plain(failure(ValueError("no", library)))
    forget()
    assert type(rebuilt(opened(sent, "train"))) is RunError
    assert "a_heavy_library" not in sys.modules


def test_our_own_and_pythons_errors_are_themselves() -> None:
    for error in (ConfigError(["a", "b"], "here"), BadRows("row 0", [1]), KeyError("k"), KeyboardInterrupt()):
        found = rebuilt(opened(plain(failure(error)), "train"))
        assert type(found) is type(error)
        assert str(found) == str(error)


def test_an_error_that_cannot_be_made_again_is_quoted() -> None:
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    found = rebuilt(opened(plain(failure(Odd(1, 2))), "train"))
    assert type(found) is RunError
    assert "Odd: 1 and 2" in str(found)
    found = rebuilt(opened(plain(failure(ValueError("open", (i for i in "ab")))), "train"))
    assert "ValueError: ('open'" in str(found)
    assert "cannot pickle" in str(found)


def test_numbers_of_a_library_arrive_as_pythons() -> None:
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    figures = {
        "a": numpy.float64(1.5),
        "b": torch.tensor(2.0, requires_grad=True),
        "c": torch.ones(2),
        "d": 3,
    }
    found = opened(plain({**figures, numpy.str_("e"): [numpy.int64(4)]}), "evaluate")
    assert found == {"a": 1.5, "b": 2.0, "c": [1.0, 1.0], "d": 3, "e": [4]}
    assert {type(v) for v in found.values()} == {float, list, int}
    assert type(found["e"][0]) is int
    assert {type(k) for k in found} == {str}


def test_an_answer_that_would_import_is_refused_and_a_value_in_force_told_as_text(library: Any) -> None:
    answer, value = plain({"x": library.Kind("k")}), parcel(library.Kind("k"))
    assert type(value_or_text(value)) is library.Kind
    assert value_or_text(parcel(i for i in "ab")).startswith("<generator")
    forget()
    with pytest.raises(RunError, match=r"answered to evaluate cannot be opened .* a_heavy_library"):
        opened(answer, "evaluate")
    assert value_or_text(value) == "'k'"
    assert "a_heavy_library" not in sys.modules
