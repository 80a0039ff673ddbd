"""Code in README, documentation and examples runs, with a tiny model in the place of the one named."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from aligntune.cli.app import app

if TYPE_CHECKING:
    from tests.docs.conftest import Block, Local

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted([*ROOT.glob("examples/*.py"), *ROOT.glob("examples/*.yaml")])
PAGES = [ROOT / "README.md", ROOT / "docs/getting-started/quickstart.md"]

pytestmark = pytest.mark.backend


def fewer_steps(text: str) -> str:
    """Three steps, and shorter completions, are enough to see that something trains."""
    for name, least in {"max_steps": 3, "max_completion_length": 64, "max_resampling": 1}.items():
        text = re.sub(rf"\b{name}(=|: )\d+", rf"{name}\g<1>{least}", text)
    return text


def run_python(text: str, name: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), names)
    return names


def run_command(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words.pop(0) == "aligntune"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, f"{line}\n{result.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_of_pages_runs_in_its_order(
    page: Path, local: Local, blocks_of: Callable[[Path], list[Block]]
) -> None:
    ran = 0
    for block in blocks_of(page):
        text = fewer_steps(local.of(block.text))
        if block.language in ("yaml", "json"):
            name = block.name or text.splitlines()[0].removeprefix("# ")
            Path(name).write_text(text)
        elif block.language == "python":
            run_python(text, f"{page.name}:{block.line}")
            ran += 1
        elif block.text.startswith("aligntune"):
            for line in text.splitlines():
                run_command(line)
                ran += 1
    assert ran >= 3


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example: Path, local: Local, capsys: pytest.CaptureFixture[str]) -> None:
    text = example.read_text()
    if example.name == "resume.py":
        text = text.replace('"max_steps": 60', '"max_steps": 6').replace("== 25", "== 3")
    text = local.of(text)
    if example.suffix == ".yaml":
        Path(example.name).write_text(fewer_steps(text))
        run_command(f"aligntune train {example.name}")
    elif example.name == "resume.py":
        run_python(text, example.name)
        first, second = capsys.readouterr().out.strip().splitlines()[-2:]
        assert first.split()[:2] == ["SIGINT", "3"]
        assert second.split()[:2] == ["None", "6"]
    else:
        run_python(fewer_steps(text), example.name)
    assert list(Path("runs").glob("*/aligntune.json"))


def test_every_example_is_in_the_table() -> None:
    told = set(re.findall(r"\]\((\w+\.\w+)\)", (ROOT / "examples/README.md").read_text()))
    assert told == {example.name for example in EXAMPLES}
