"""The code on the pages for plugin authors is what the hook contract accepts, and says what the examples do."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aligntune_core.backends import validation
from aligntune_core.testing import plugin as kit
from aligntune_core.testing.conformance import BackendConformance

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/plugins"


def blocks(page: str, language: str) -> list[str]:
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def module_of(text: str) -> ModuleType:
    module = ModuleType("of_a_page")
    exec(compile(text, "page", "exec"), vars(module))
    return module


def test_hooks_on_the_page_fulfil_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples/extensions/aligntune-orpo/src"))
    algorithm, extension, wrapper = (module_of(text) for text in blocks("extend.md", "python"))
    assert validation.problems(extension, ()) == []
    assert validation.problems(wrapper, ()) == []
    assert extension.supports_algorithm("orpo")
    assert extension.supports_algorithm("sft") is None
    from aligntune_orpo import plugin  # registers its recipe: another one of that name would raise

    assert plugin.supports_algorithm("orpo") == extension.supports_algorithm("orpo")

    from aligntune_orpo.algorithm import ORPO

    for field in ("name", "kind", "formats", "paper", "title"):
        assert getattr(algorithm.ORPO, field) == getattr(ORPO, field)
    assert algorithm.ORPO.parameters().model_dump() == ORPO.parameters().model_dump()
    for name in ("algorithm", "plugin"):
        del sys.modules[f"aligntune_orpo.{name}"]
    del sys.modules["aligntune_orpo"]


def test_entry_points_on_the_page_are_those_of_the_examples() -> None:
    told: dict[str, dict[str, str]] = {}
    for text in blocks("extend.md", "toml"):
        told |= tomllib.loads(text)["project"]["entry-points"]
    real: dict[str, dict[str, Any]] = {}
    for file in (ROOT / "examples/extensions").glob("*/pyproject.toml"):
        for group, entries in tomllib.loads(file.read_text())["project"]["entry-points"].items():
            real.setdefault(group, {}).update(entries)
    assert told
    for group, entries in told.items():
        assert entries.items() <= real[group].items()


def test_the_kits_page_names_every_required_test() -> None:
    page = (PAGES / "conformance.md").read_text(encoding="utf-8")
    tests = [name for name in dir(BackendConformance) if kit.NAME.match(name) and "optional" not in name]
    assert len(tests) > 30
    sections: dict[str, str] = {
        name: page.split(f"\n### {name.capitalize()}\n")[1].split("\n## ")[0].split("\n### ")[0]
        for name in kit.TIERS
    }
    for test in tests:
        _, tier, name = test.split("_", 2)
        assert re.search(rf"`{name}[`\[]", sections[tier]), f"{test} is not on the page"
    told = {
        (tier, name) for tier, text in sections.items() for name in re.findall(r"^\|[^|]*?`(\w+)", text, re.M)
    }
    assert {f"test_{tier}_{name}" for tier, name in told} <= set(tests)
