"""The floor plan, measured: no circle of imports, no algorithm or backend told by its name where a trait tells it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from aligntune_core.algorithms.catalogue import own_names

ROOT = Path(__file__).parents[2]
SOURCES = {
    "core": ROOT / "aligntune_core",
    "aligntune": ROOT / "aligntune",
    "trl": ROOT / "plugins/aligntune-trl/src",
    "torch": ROOT / "plugins/aligntune-torch/src",
    "unsloth": ROOT / "plugins/aligntune-unsloth/src",
}
BACKENDS = ("trl", "unsloth")  # "torch" is a library's name too

# Places where a name is what the user writes, not a question that a trait answers.
CALLS = {
    "aligntune_core/config/read/build.py",  # which of the two calls: create_sft_trainer, create_rl_trainer
    "aligntune_core/config/read/peers/earlier.py",  # old keywords: use_unsloth
    "aligntune/scaffold/__init__.py",  # which example to write: "sft" or "empty"
}


def modules(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def compared(tree: ast.Module, names: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and text of every comparison with one of these strings, on either side, in a tuple or a set."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            constants = [c for side in sides for c in ast.walk(side) if isinstance(c, ast.Constant)]
            if any(constant.value in names for constant in constants if isinstance(constant.value, str)):
                yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("part", SOURCES)
def test_no_module_outside_algorithms_asks_for_an_algorithm_by_its_name(part: str) -> None:
    names = tuple(own_names())
    places = [
        f"{path}:{line}: {text}"
        for path, tree in modules(SOURCES[part])
        if "algorithms" not in Path(path).parts and Path(path).stem != "algorithms" and path not in CALLS
        for line, text in compared(tree, names)
    ]
    assert not places, "\n".join(places)


def test_no_module_of_core_asks_for_a_backend_by_its_name() -> None:
    places = [
        f"{path}:{line}: {text}"
        for path, tree in modules(SOURCES["core"])
        if path not in CALLS
        for line, text in compared(tree, BACKENDS)
    ]
    assert not places, "\n".join(places)


def test_no_modules_import_each_other_in_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    grimp = pytest.importorskip("grimp", reason="comes with import-linter")
    monkeypatch.syspath_prepend(str(SOURCES["unsloth"]))  # not installed in every environment
    packages = ("aligntune", "aligntune_core", "aligntune_torch", "aligntune_trl", "aligntune_unsloth")
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    circle: list[str] = []
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert not circle, f"a circle of imports: {' <- '.join(circle)}"
