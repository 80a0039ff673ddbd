"""Snippets of every page: Python parses, and each call and each YAML file is a configuration that aligntune takes."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core.config import load_config, resolve_config

if TYPE_CHECKING:
    from tests.docs.conftest import Block

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")])
KINDS = {"create_sft_trainer": "sft", "create_rl_trainer": "rl"}


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and literal keywords of each ``create_*`` call; what is no literal is left out, or any object."""
    for node in ast.walk(tree):
        name = getattr(getattr(node, "func", None), "id", "")
        if not isinstance(node, ast.Call) or name not in KINDS or any(k.arg is None for k in node.keywords):
            continue
        keywords: dict[str, Any] = {}
        for number, value in enumerate(node.args):
            keywords[("model_name", "dataset_name", "algorithm")[number]] = literal(value)
        for keyword in node.keywords:
            value = literal(keyword.value)
            if value is not None or keyword.arg in ("model_name", "dataset_name"):
                keywords[str(keyword.arg)] = "something" if value is None else value
        yield KINDS[name], keywords


def literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_parses_and_its_calls_resolve(page: Path, blocks_of: Callable[[Path], list[Block]]) -> None:
    for block in blocks_of(page):
        if block.language != "python":
            continue
        for kind, keywords in calls(ast.parse(dedent(block.text), f"{page.name}:{block.line}")):
            keywords.setdefault("model_name", "model")
            keywords.setdefault("dataset_name", "rows.jsonl")
            if kind == "rl":
                keywords.setdefault("algorithm", "dpo")
            assert resolve_config(kind, **keywords)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_yaml_is_a_configuration(
    page: Path, blocks_of: Callable[[Path], list[Block]], tmp_path: Path
) -> None:
    for block in blocks_of(page):
        if block.language == "yaml":
            needed = {"algorithm": "sft", "model_name": "m"}
            if not re.search(r"^datasets:", block.text, re.M):
                needed["dataset_name"] = "d"
            lines = [f"{k}: {v}\n" for k, v in needed.items() if not re.search(rf"^{k}:", block.text, re.M)]
            file = tmp_path / f"{page.stem}-line-{block.line}.yaml"
            file.write_text(block.text + "".join(lines))
            assert load_config(file)


def test_a_wrong_keyword_would_be_found() -> None:
    [(kind, keywords)] = calls(ast.parse("create_sft_trainer('m', 'd', lerning_rate=1)"))
    with pytest.raises(ValueError, match="learning_rate"):
        resolve_config(kind, **keywords)
