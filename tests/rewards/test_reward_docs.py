"""docs/rewards.md is true: its table, its code and its configuration."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

from aligntune_core.config.schema.sections import RewardsConfig
from aligntune_core.rewards import list_rewards, read_rewards
from aligntune_core.rewards.catalogue import BUILT_IN
from aligntune_core.rewards.function import REFERENCE_NAMES
from aligntune_core.rewards.signature import BATCH_NAMES, TEXT_NAMES

DOCS = Path(__file__).parents[2] / "docs" / "rewards.md"
TEXT = DOCS.read_text(encoding="utf-8")
TOOL = runpy.run_path(str(DOCS.parent / "tools" / "rewards.py"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_table_is_made_from_the_rewards() -> None:
    assert TEXT.count("<!-- built-in rewards: begin") == TEXT.count("<!-- built-in rewards: end -->") == 1
    assert TOOL["markdown_table"]() in TEXT
    assert TOOL["with_table"](TEXT) == TEXT, "run: python docs/tools/rewards.py"


@pytest.mark.parametrize("code", blocks("python"))
def test_code_runs(code: str) -> None:
    if "# needs reasoning-gym" in code:
        pytest.importorskip("reasoning_gym")
    names: dict[str, object] = {}
    exec(compile(code, str(DOCS), "exec"), names)
    assert names.keys() - {"__builtins__"}, "the block defines or imports nothing"


def test_the_yaml_example_is_read() -> None:
    [example] = [yaml.safe_load(block) for block in blocks("yaml")]
    specs = read_rewards(
        RewardsConfig(
            functions=example["reward_functions"],
            weights=example["reward_function_weights"],
            model=example["reward_model_name"],
        )
    )
    assert [(s.kind, s.name, s.weight) for s in specs] == [
        ("built-in", "reasoning_gym", 1.0),
        ("built-in", "xml_tags", 0.2),
        ("import", "polite", 0.5),
        ("model", "reward-model", 2.0),
    ]


def test_names_of_parameters_are_those_in_the_code() -> None:
    assert all(f"`{name}`" in TEXT for name in (*BATCH_NAMES, *TEXT_NAMES, *REFERENCE_NAMES))


def test_every_reward_is_described() -> None:
    for info in list_rewards()[: len(BUILT_IN)]:
        assert info.summary.endswith(".")
        assert info.scores
        assert all(p.description for p in info.parameters)
