"""The code on the pages for plugin authors is what the hook contract accepts, and says what the examples do."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aligntune_core.algorithms import find
from aligntune_core.backends import validation
from aligntune_core.config import resolve_config
from aligntune_core.errors import DataError
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
    algorithm, extension, _, *others = (module_of(text) for text in blocks("extend.md", "python"))
    assert len(others) == 4  # a rule, a field, a wrapper, a listener
    for module in (extension, *others):
        assert validation.problems(module, ()) == []
        assert validation.old_seam(module) is None
    assert extension.supports_algorithm("orpo")
    assert extension.supports_algorithm("sft") is None
    from aligntune_orpo import plugin  # registers its recipe: another one of that name would raise

    assert plugin.supports_algorithm("orpo") == extension.supports_algorithm("orpo")

    from aligntune_orpo.algorithm import ORPO

    for field in ("name", "kind", "formats", "paper", "title", "defaults"):
        assert getattr(algorithm.ORPO, field) == getattr(ORPO, field)
    assert algorithm.ORPO.parameters().model_dump() == ORPO.parameters().model_dump()
    for name in ("algorithm", "plugin"):
        del sys.modules[f"aligntune_orpo.{name}"]
    del sys.modules["aligntune_orpo"]


def test_the_recipe_on_the_page_is_the_examples() -> None:
    example = (ROOT / "examples/extensions/aligntune-orpo/src/aligntune_orpo/plugin.py").read_text()
    (text,) = [text for text in blocks("extend.md", "python") if "register(" in text]
    (recipe,) = re.findall(r"^register\(.*?^\)", text, re.M | re.S)
    assert recipe in example


def test_the_rule_and_the_field_on_the_page_do_what_it_says() -> None:
    _, _, _, rule, field, _, listener = (module_of(text) for text in blocks("extend.md", "python"))

    def config(trusts: bool) -> Any:
        return resolve_config("sft", model_name="m", dataset_name="d", trust_remote_code=trusts)

    assert listener.tracker(config(False), ROOT) is None
    assert rule.problems(config(False)) == []
    assert len(rule.problems(config(True))) == 1
    assert field.backend_info().honours == {"optim.max_grad_norm"}
    assert validation.check_honours(field.backend_info()) == []


def test_the_format_on_the_page_gives_a_pair_for_each_worse_answer() -> None:
    from aligntune_core.data import prepare_datasets
    from aligntune_core.testing.tiny import make_tokenizer

    module = module_of(next(text for text in blocks("extend.md", "python") if "Format(" in text))
    algorithm = replace(find("dpo"), formats=(module.RANKED, "preference"))

    def pairs(row: dict[str, Any]) -> list[dict[str, Any]]:
        config = resolve_config("rl", algorithm="dpo", model_name="m", dataset_name=[row])
        return list(prepare_datasets(config, algorithm, make_tokenizer()).train)

    ranked = pairs({"prompt": "say salt", "ranked": ["salt", "water", "oil"]})
    assert [row["rejected"][0]["content"] for row in ranked] == ["water", "oil"]
    assert {row["chosen"][0]["content"] for row in ranked} == {"salt"}
    assert len(pairs({"prompt": "say salt", "chosen": "salt", "rejected": "oil"})) == 1
    with pytest.raises(DataError, match="a pair needs two"):
        pairs({"prompt": "say salt", "ranked": ["salt"]})


def test_from_1_0_names_every_hook_type_and_member_that_changed() -> None:
    page = (PAGES / "from-1.0.md").read_text(encoding="utf-8")
    words = [
        "planned",
        "problems",
        "tokenize",
        "prepared",
        "state",
        "roles",
        "strategies",
        "priority",
        "generators",
    ]
    words += [
        "artifact",
        "topology",
        "save(path, form)",
        "generate(prompts, sampling)",
        "close()",
        "formats",
        "register",
    ]
    for word in words:
        assert word in page, word
    for other in ("versioning.md", "write-a-backend.md", "extend.md"):
        assert "(from-1.0.md)" in (PAGES / other).read_text(encoding="utf-8"), other
    assert "docs/plugins/from-1.0.md" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


MODULES = {"aligntune_core", "aligntune_core.types", "aligntune_core.toolkit"}
OURS = {
    **dict.fromkeys(["plugins/aligntune-torch", "examples/extensions/aligntune-house"], MODULES),
    "examples/extensions/aligntune-brevity": MODULES,
    "examples/extensions/aligntune-orpo": MODULES | {"aligntune_trl.api"},
}


@pytest.mark.parametrize("package", OURS)
def test_what_authors_start_from_imports_what_is_promised(package: str) -> None:
    for file in (ROOT / package).glob("src/**/*.py"):
        names = re.findall(r"^ *(?:from|import) (aligntune_(?:core|trl)[\w.]*)", file.read_text(), re.M)
        assert set(names) <= OURS[package], file


def test_entry_points_on_the_page_are_those_of_the_examples() -> None:
    shown: dict[str, dict[str, str]] = {}
    for text in blocks("extend.md", "toml"):
        shown |= tomllib.loads(text)["project"]["entry-points"]
    real: dict[str, dict[str, Any]] = {}
    for file in (ROOT / "examples/extensions").glob("*/pyproject.toml"):
        for group, entries in tomllib.loads(file.read_text())["project"]["entry-points"].items():
            real.setdefault(group, {}).update(entries)
    assert shown
    for group, entries in shown.items():
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
    listed = {
        (tier, name) for tier, text in sections.items() for name in re.findall(r"^\|[^|]*?`(\w+)", text, re.M)
    }
    assert {f"test_{tier}_{name}" for tier, name in listed} <= set(tests)
