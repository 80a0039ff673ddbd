"""docs/errors.md explains every error class, and no other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from aligntune_core import errors

PAGE = (Path(__file__).parents[2] / "docs/errors.md").read_text(encoding="utf-8")


def classes() -> dict[str, type[errors.AligntuneError]]:
    return {
        name: value
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.AligntuneError) and value.__module__ == errors.__name__
    }


def sections() -> dict[str, str]:
    """Heading -> text below it, of the headings of classes."""
    return dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))


def test_every_class_has_a_section_and_every_section_a_class() -> None:
    assert set(sections()) == set(classes())


def test_every_section_but_those_of_bases_has_a_remedy() -> None:
    bases = {"AligntuneError", "BackendError"}
    assert {name for name, text in sections().items() if "**Remedy:**" not in text} == bases


def test_the_table_of_other_bases_is_true() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.M))
    for builtin in (ValueError, ImportError, LookupError, ArithmeticError):
        told = set(re.findall(r"`(\w+)`", rows[builtin.__name__]))
        also = {name for name, kind in classes().items() if issubclass(kind, builtin)}
        assert told <= also
        below = {name for name in also if any(issubclass(classes()[name], classes()[t]) for t in told)}
        assert below == also
