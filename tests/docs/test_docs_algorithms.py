"""Each algorithm's page: its parameters are those of the model, its configuration is the example's."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aligntune_core.algorithms import find, known
from aligntune_core.config.keywords import parameters_of

if TYPE_CHECKING:
    from tests.docs.conftest import Block

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "docs" / "tools" / "configuration.py"))
NAMES = ("sft", "dpo", "kto", "reward", "ppo", "grpo", "gspo", "dapo", "dr_grpo")


def page(name: str) -> Path:
    return ROOT / "docs" / "algorithms" / f"{name}.md"


def test_every_algorithm_has_a_page() -> None:
    assert {path.stem for path in page("x").parent.glob("*.md")} == set(NAMES) <= set(known())


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_every_parameter_and_the_paper(name: str) -> None:
    text, algorithm = page(name).read_text(encoding="utf-8"), find(name)
    assert TOOL["with_parameters"](text, algorithm) == text, "run: python docs/tools/configuration.py"
    missing = [
        n for e in parameters_of(algorithm.parameters).values() for n in e.names if f"`{n}`" not in text
    ]
    assert not missing
    assert algorithm.paper in text
    assert "## Run it" in text


@pytest.mark.parametrize("name", [n for n in NAMES if n != "ppo"])
def test_the_configuration_of_a_page_is_an_example(
    name: str, blocks_of: Callable[[Path], list[Block]]
) -> None:
    [shown] = [block for block in blocks_of(page(name)) if block.language == "yaml"]
    assert shown.text == (ROOT / "examples" / shown.name).read_text(encoding="utf-8")
