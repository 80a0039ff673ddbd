"""A plugin that is written for aligntune 1.0, which its metadata admits: listed, refused, and told what to change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from aligntune import create_sft_trainer
from aligntune.cli.app import app
from aligntune_core import errors
from aligntune_core.algorithms import find
from aligntune_core.backends.registry import Registry, registry

if TYPE_CHECKING:
    from tests.site import Site

REQUIRES = ["aligntune>=1,<2"]
HEAD = "from aligntune_core import BackendInfo, LoadedModel, Support, hookimpl\n"
OLD_BACKEND = {
    "prepare": """
@hookimpl
def prepare(config):
    return Prepared(device=Device(kind="cpu"), planned=lambda config: {"optim.learning_rate": 1e-4})
""",
    "build_trainer": """
class Engine:
    native = model = None
    def effective(self): return {}
    def train(self, resume_from=None): ...
    def evaluate(self, dataset=None): return {}
    def save_model(self, path, merged=False): ...
    def generate(self, prompts, max_new_tokens=128, temperature=0.0, top_p=1.0): return []

@hookimpl
def build_trainer(loaded, config, datasets, run):
    return Engine()
""",
}
CHANGE = (
    "written for the hooks of aligntune 1.0: build_trainer has to take prepared: build_trainer(loaded, config, "
    "datasets, prepared, run). What Prepared(planned=...) held is a hook of its own, planned(config, prepared); an "
    "Engine has save(path, form), generate(prompts, sampling) and close(). docs/plugins/from-1.0.md has every change"
)


@pytest.fixture
def old(site: Site, source: Callable[..., str]) -> Site:
    """Backend "acme" of aligntune 1.0."""
    site.backend("acme", source(**OLD_BACKEND), requires=REQUIRES)
    return site


def listed() -> dict[str, dict[str, Any]]:
    """Name -> row of ``aligntune backends --json``."""
    result = CliRunner().invoke(app, ["backends", "--json"])
    assert result.exit_code == 0
    return {row["name"]: row for row in json.loads(result.stdout)}


def create(**keywords: Any) -> Any:
    return create_sft_trainer("m", [{"prompt": "p", "completion": "c"}], **keywords)


def test_an_old_backend_is_listed_with_what_to_change(old: Site) -> None:
    row = listed()["acme"]
    assert row["state"] == "incompatible"
    assert row["reason"].endswith(f": {CHANGE}")
    assert row["hint"].startswith("install a release of fake-acme for aligntune ")
    assert row["algorithms"] == {}
    shown = CliRunner().invoke(app, ["backends"], env={"COLUMNS": "900"}).stdout
    assert CHANGE in shown


def test_an_old_backend_that_is_named_raises(old: Site) -> None:
    with pytest.raises(errors.BackendBroken) as caught:
        create(backend="acme")
    assert 'backend "acme" (fake-acme 1.0) is incompatible: ' in str(caught.value)
    assert CHANGE in str(caught.value)


def test_auto_passes_an_old_backend_over(
    old: Site, source: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "acme")
    with pytest.raises(errors.BackendUnavailable, match="acme: incompatible"):
        create(backend="auto")
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "acme,other")
    other = source(prepare="@hookimpl\ndef prepare(config): raise FloatingPointError('other was chosen')")
    old.backend("other", other, requires=REQUIRES)
    with pytest.raises(FloatingPointError, match="other was chosen"):
        create(backend="auto")


MOVED = ["from aligntune_core.devices import probe", "from aligntune_core.config import ResolvedConfig"]


@pytest.mark.parametrize("line", MOVED)
def test_an_import_of_what_core_has_moved_is_no_fault_of_the_environment(
    line: str, site: Site, source: Callable[..., str]
) -> None:
    site.backend("acme", line + "\n" + source(), requires=REQUIRES)
    site.backend("broken", "from some_library import x\n" + source())
    row = Registry().row("acme")
    assert row.state == "incompatible"
    assert (
        "A plugin imports aligntune_core, aligntune_core.types and aligntune_core.toolkit only" in row.reason
    )
    assert Registry().row("broken").state == "broken"


OLD_EXTENSIONS = {
    "an algorithm's trainer": (
        "@hookimpl\ndef build_trainer(loaded, config, datasets, run): return None",
        "build_trainer has to take prepared",
    ),
    "a wrapper of backend_info": (
        "@hookimpl(wrapper=True)\ndef backend_info():\n    return (yield)",
        "backend_info is no wrapper: an extension returns a BackendInfo of what it adds",
    ),
}


@pytest.mark.parametrize("case", OLD_EXTENSIONS)
def test_an_old_extension_makes_its_backend_incompatible_and_is_named(case: str, site: Site) -> None:
    text, change = OLD_EXTENSIONS[case]
    site.backend("acme")
    site.backend("other")
    site.extension("acme", "late", HEAD + text, requires=REQUIRES)
    rows = listed()
    assert (rows["acme"]["state"], rows["other"]["state"]) == ("incompatible", "ready")
    assert rows["acme"]["reason"].startswith('its extension "late" of fake-late 1.0 cannot be used: ')
    assert change in rows["acme"]["reason"]
    assert rows["acme"]["hint"] == "update fake-late, or pip uninstall fake-late"
    (extension,) = registry().extensions()
    assert (extension.name, extension.state) == ("late", "incompatible")
    with pytest.raises(errors.BackendBroken, match=r'extension "late" of fake-late 1\.0.*aligntune 1\.0'):
        create(backend="acme")


def test_a_timing_wrapper_of_1_0_goes_on_working(site: Site) -> None:
    site.backend("acme")
    wrapper = "@hookimpl(wrapper=True)\ndef build_trainer(loaded, config):\n    return (yield)"
    site.extension("acme", "timing", HEAD + wrapper, requires=REQUIRES)
    assert Registry().row("acme").state == "ready"


ALGORITHM = """
from pydantic import BaseModel
from aligntune_core.algorithms import Algorithm

class Parameters(BaseModel):
    zeta: float = 0.1

ODDS = Algorithm(name="odds", {fields}parameters=Parameters)
"""
OLD_FIELDS = ['kind="rl", columns=("prompt", "chosen", "rejected"), ', 'columns=("prompt",), ', ""]


@pytest.mark.parametrize("fields", OLD_FIELDS)
def test_an_old_algorithm_is_listed_with_what_to_change(fields: str, site: Site) -> None:
    module = site.module(ALGORITHM.replace("{fields}", fields))
    site.install("fake-odds", {"aligntune.algorithms": {"odds": f"{module}:ODDS"}}, requires=REQUIRES)
    (row,) = [row for row in registry().third_party() if row.group == "aligntune.algorithms"]
    assert row.state == "incompatible"
    assert row.reason.startswith(
        "fake-odds 1.0: written for aligntune 1.0: an Algorithm has formats in place of"
    )
    with pytest.raises(errors.ConfigError, match=r'"odds" could not be loaded: .*formats=\("preference",\)'):
        find("odds")
    names = {entry["name"] for entry in json.loads(CliRunner().invoke(app, ["algorithms", "--json"]).stdout)}
    assert "sft" in names
    assert "odds" not in names
    assert find("sft").name == "sft"


def test_another_mistake_of_an_algorithm_is_not_taken_for_an_old_one(site: Site) -> None:
    module = site.module(ALGORITHM.replace("{fields}", 'formats=("preference",), colour="red", '))
    site.install("fake-odds", {"aligntune.algorithms": {"odds": f"{module}:ODDS"}})
    (row,) = [row for row in registry().third_party() if row.group == "aligntune.algorithms"]
    assert (row.state, "'colour'" in row.reason) == ("broken", True)
