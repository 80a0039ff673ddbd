"""Runs the kit, in a pytest of its own, on backends that are made for it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest

from aligntune_core.backends import registry
from tests.site import Site

Outcomes = dict[str, dict[str, str]]
Judge = Callable[..., Outcomes]
Judged = Callable[[str], dict[str, str]]

CLASSES = """
from aligntune_core.testing import BackendConformance
"""
CLASS = """

class Test_{name}(BackendConformance):
    backend = "{name}"
    process = "all of them"
"""


HEAD = """
from aligntune_core import Support, hookimpl
from aligntune_torch.plugin import (
    apply_peft, backend_info, build_trainer, load_model, planned, prepare, problems, supports_algorithm, tokenize,
)

@hookimpl
def supports_algorithm(algorithm):
    return Support(True) if algorithm == "{algorithm}" else Support(False, "{algorithm} only")
"""

# A fault is the body of a class derived from the engine.
BUILD = """
@hookimpl
def build_trainer(loaded, config, datasets, prepared, run):
    import torch
    from dataclasses import replace
    from aligntune_torch.engine import Engine

    class Bad(Engine):
{body}

    return Bad(loaded, config, datasets, run)
"""


@pytest.fixture(scope="session")
def torch_with() -> Callable[..., str]:
    """``torch_with(body, algorithm)``: the plain PyTorch backend with an engine that differs by ``body``."""

    def source(body: str, algorithm: str = "sft") -> str:
        body = textwrap.dedent(body).strip()
        build = BUILD.format(body=textwrap.indent(body, " " * 8)) if body else ""
        return HEAD.format(algorithm=algorithm) + build

    return source


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """``judge({backend: source}, *pytest arguments)``: backend -> {test: what became of it}."""

    def run(
        backends: Mapping[str, str],
        *arguments: str,
        install: Callable[[Site], None] = lambda site: None,
        requires: Mapping[str, str] | None = None,
        others: Iterable[str] = (),
    ) -> Outcomes:
        folder = tmp_path_factory.mktemp("kit")
        site = Site(folder)
        for name, source in backends.items():
            site.backend(name, source, requires=[(requires or {}).get(name, "aligntune>=1,<2")])
        install(site)
        test = folder / "test_all.py"
        test.write_text(CLASSES + "".join(CLASS.format(name=name) for name in [*backends, *sorted(others)]))
        command = [
            "-q",
            "-p",
            "aligntune_core.testing.plugin",
            "-p",
            "no:cacheprovider",
            "--junitxml=found.xml",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *command, *arguments, test.name],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=280,
        )
        registry.refresh()
        assert (folder / "found.xml").is_file(), done.stdout + done.stderr
        return outcomes(folder / "found.xml")

    return run


@pytest.fixture(scope="session")
def judge_halves(judge: Judge) -> Callable[..., Judged]:
    """``judge_halves(backends, *arguments)``: a function that gives the outcomes of one of them.

    Each half runs when first asked for, in a pytest of its own, so that no test waits for all of them.
    """

    def halves(backends: Mapping[str, str], *arguments: str) -> Judged:
        names = list(backends)

        @cache
        def half(number: int) -> Outcomes:
            return judge({name: backends[name] for name in names[number::2]}, *arguments)

        return lambda name: half(names.index(name) % 2)[name]

    return halves


def outcomes(report: Path) -> Outcomes:
    """Backend -> {test: "passed", "skipped: why", "not met: why" (optional), or "failed: first words"}."""
    found: Outcomes = {}
    for case in ET.parse(report).iter("testcase"):
        backend = case.attrib["classname"].partition("Test_")[2]
        text = "passed"
        for child in case:
            message = (child.get("message") or "") + (child.text or "")
            if child.tag in ("failure", "error"):
                text = f"failed: {message}"
            elif child.tag == "skipped":
                text = ("not met: " if child.get("type") == "pytest.xfail" else "skipped: ") + message
        found.setdefault(backend, {})[case.attrib["name"]] = text
    return found


@pytest.fixture(scope="session")
def failures() -> Callable[[Mapping[str, str]], dict[str, str]]:
    """The tests that failed, with what they said."""
    return lambda found: {test: said for test, said in found.items() if said.startswith("failed")}
