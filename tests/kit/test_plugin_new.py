"""``aligntune plugin new`` and the page "Write a backend": what they write installs, is clean, and trains."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from aligntune.cli.app import app
from aligntune.scaffold import write
from aligntune_core import Sampling
from aligntune_core.errors import ConfigError
from aligntune_core.testing import test_conformance

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/plugins/write-a-backend.md"
WORDS = {
    "aligntune": ["-c", "from aligntune.cli import main; main()"],
    "pytest": ["-m", "pytest", "-q", "-p", "no:cacheprovider"],
}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a command in an environment of its own, where packages can be installed beside those of this one."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    inner = next(home.glob("lib/python*/site-packages"))
    outer = next(path for path in sys.path if path.endswith("site-packages"))
    (inner / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")
    python = str(home / "bin" / "python")

    def command(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        program, *words = line.split()
        if program == "pip":
            more = ["--no-deps", "--no-build-isolation", "--quiet"]
            whole = [sys.executable, "-m", "pip", "--python", python, *words, *more]
        else:
            whole = [python, *WORDS[program], *words]
        return subprocess.run(
            whole, cwd=cwd, env=dict(os.environ), capture_output=True, text=True, timeout=280, check=False
        )

    return command


def test_what_is_written_is_clean_and_typed(tmp_path: Path) -> None:
    folder, other = write("my-lib", "empty", tmp_path), write("your_lib", "sft", tmp_path)
    assert (folder, other) == (tmp_path / "aligntune-my-lib", tmp_path / "aligntune-your-lib")
    for check in (
        ["ruff", "check", "--select", "E,F,I,UP,B", "."],
        ["ruff", "format", "--check", "."],
        [
            "mypy",
            "--config-file",
            "aligntune-my-lib/pyproject.toml",
            *(f"{f.name}/src" for f in (folder, other)),
        ],
    ):
        words = [sys.executable, "-m", *check]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("example", ["empty", "sft"])
def test_what_is_written_imports_three_modules_of_core(example: str, tmp_path: Path) -> None:
    folder = write("my-lib", example, tmp_path)
    text = "".join(file.read_text() for file in folder.glob("src/**/*.py"))
    modules = set(re.findall(r"^ *(?:from|import) (aligntune_core[\w.]*)", text, re.M))
    assert modules == {"aligntune_core", "aligntune_core.toolkit", "aligntune_core.types"}
    assert '"aligntune>=1.1,<2"' in (folder / "pyproject.toml").read_text()


def test_an_empty_plugin_installs_and_passes_the_static_tier(run: Run, tmp_path: Path) -> None:
    assert run("aligntune plugin new solo-lib", tmp_path).returncode == 0
    folder = tmp_path / "aligntune-solo-lib"
    installed = run("pip install -e aligntune-solo-lib", tmp_path)
    assert installed.returncode == 0, installed.stderr
    tested = run("pytest", folder)
    assert tested.returncode == 0, tested.stdout
    # What it skips: of the hooks that it may leave to aligntune it leaves problems.
    assert "required: 11 passed, 1 skipped\n" in tested.stdout
    listed = run("aligntune backends", tmp_path).stdout
    assert re.search(r"solo-lib\s+ready\s+0\.1\.0\s+sft", listed)


def test_what_is_left_to_write_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write("half-lib", parent=tmp_path)
    monkeypatch.syspath_prepend(str(folder / "src"))
    training: Any = importlib.import_module("aligntune_half_lib.training")
    for call, instruction in {
        training.load: "load config.model.name onto prepared.device.kind",
        training.wrap: "LoRA adapter with config.peft",
    }.items():
        with pytest.raises(NotImplementedError, match=instruction):
            call(None, None)
    with pytest.raises(NotImplementedError, match=r"datasets\.train"):
        training.Engine(None, None, None, None)
    engine = training.Engine.__new__(training.Engine)
    calls: dict[str, tuple[Any, ...]] = {
        "effective": (),
        "train": (),
        "evaluate": (),
        "save": (Path("x"), "adapter"),
        "generate": ([], Sampling()),
        "close": (),
    }
    for name, arguments in calls.items():
        with pytest.raises(NotImplementedError, match=f"^{name}: "):
            getattr(engine, name)(*arguments)
    for name in ("native", "model"):
        with pytest.raises(NotImplementedError, match=f"^{name}: "):
            getattr(engine, name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Acme", "lower-case letters"),
        ("9lives", "a letter first"),
        ("auto", "cannot be called"),
        ("trl", r"installed already \(aligntune-trl\)"),
    ],
)
def test_names_that_cannot_be_are_refused(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text):
        write(name, parent=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(app, ["plugin", "new", "twice"])
    assert first.exit_code == 0
    assert f"{tmp_path / 'aligntune-twice'} is written" in first.output
    again = CliRunner().invoke(app, ["plugin", "new", "twice", "--with-example", "sft"])
    assert again.exit_code == 2
    assert "exists already" in again.output
    assert (
        "to start twice from" not in (tmp_path / "aligntune-twice/src/aligntune_twice/plugin.py").read_text()
    )


def test_without_a_backend_the_kit_says_how_to_name_one(run: Run, tmp_path: Path) -> None:
    done = run(
        f"pytest -p aligntune_core.testing.plugin {test_conformance.__file__} -k entry_point", tmp_path
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: name the backend: --aligntune-backend NAME" in done.stdout + done.stderr


# --- the page --------------------------------------------------------------------------------------------------------


def blocks() -> list[SimpleNamespace]:
    """The page's code blocks: language, file, text."""
    fences = re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [SimpleNamespace(language=m[1], file=m[2].strip(), text=m[3]) for m in fences]


def joined(file: str) -> str:
    """A file from its blocks; methods are one blank line apart, functions two."""
    parts: list[str] = [block.text for block in blocks() if block.file == file]
    return parts[0] + "".join(("\n" if part.startswith(" ") else "\n\n") + part for part in parts[1:])


def test_the_page_ends_with_what_the_example_is(tmp_path: Path) -> None:
    example = write("acme", "sft", tmp_path)
    files = {block.file for block in blocks() if block.file}
    assert files == {f"src/aligntune_acme/{name}.py" for name in ("arguments", "plugin", "training")}
    for file in files:
        assert joined(file) == (example / file).read_text(), file


@pytest.mark.backend
@pytest.mark.slow
def test_the_page_leads_to_a_backend_that_trains(run: Run, tmp_path: Path) -> None:
    folder, ran = tmp_path, []
    for block in blocks():
        if block.file:
            (folder / block.file).write_text(joined(block.file))
            continue
        for line in block.text.splitlines():
            if line.startswith("cd "):
                folder = folder / line.removeprefix("cd ")
                continue
            done = run(line, folder)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            ran.append((line, done.stdout))
    outputs = dict(ran)
    assert re.search(r"acme\s+ready", outputs["aligntune backends"])
    assert "required: 11 passed" in outputs["pytest"]
    live = re.search(r"required: (\d+) passed, (\d+) skipped", outputs["pytest --aligntune-tier live"])
    assert live
    assert int(live[1]) > 90
