"""Importing the packages and listing backends loads none of the heavy libraries; the culprit would be named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aligntune_core.testing.blocker import HEAVY, run_blocked

if TYPE_CHECKING:
    from tests.site import Site

LISTING = """
from aligntune_core.backends.registry import registry
rows = registry().rows()
registry().third_party()
print([row.name for row in rows if row.state == "ready"])
"""


@pytest.mark.parametrize(
    "code",
    [
        "import aligntune",
        "import aligntune_core; aligntune_core.BackendType; aligntune_core.Config",
        "from aligntune.core.backend_factory import BackendType, create_rl_trainer, create_sft_trainer",
        "import aligntune_core.backends.loading, aligntune_core.model.tokenizer, aligntune_core.model.device",
        LISTING,
    ],
    ids=["aligntune", "aligntune_core", "backend_factory", "registry modules", "listing"],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    done = run_blocked(code)
    assert done.returncode == 0, done.stderr


def test_naming_a_backend_imports_nothing_heavy() -> None:
    code = "from aligntune_core.backends.registry import registry\nfor name in registry().ready(): registry().get(name)"
    done = run_blocked(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["torch", "transformers", "trl", "peft", "unsloth", "datasets"])
def test_the_culprit_is_named(site: Site, name: str) -> None:
    hidden = f"try:\n    import json, {name}.sub\nexcept Exception:\n    pass\n"
    culprit = site.module(hidden)
    done = run_blocked(f"import sys; sys.path.insert(0, {str(site.folder)!r})\nimport {culprit}")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"HeavyImport: {culprit} imports {name} ({site.folder / culprit}.py:2)"
    assert name in HEAVY


def test_looking_for_a_blocked_library_is_allowed() -> None:
    done = run_blocked("import importlib.util; assert importlib.util.find_spec('torch')")
    assert done.returncode == 0, done.stderr
