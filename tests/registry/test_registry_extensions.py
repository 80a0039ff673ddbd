"""Extensions of a backend, and the listing of everything that third parties bring."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core import errors
from aligntune_core.algorithms import find
from aligntune_core.backends.registry import Registry

if TYPE_CHECKING:
    from tests.site import Site

HEAD = "from aligntune_core import LoadedModel, Support, hookimpl\n"

NEW_ALGORITHM = (
    HEAD
    + """
@hookimpl
def supports_algorithm(algorithm):
    return Support(True) if algorithm == "orpo" else None

@hookimpl
def load_model(config, prepared):
    return LoadedModel("orpo weights", None) if config == "orpo" else None
"""
)

WRAPPER = (
    HEAD
    + """
calls = []

@hookimpl(wrapper=True)
def load_model(config):
    calls.append("before " + config)
    result = yield
    calls.append("after " + config)
    return LoadedModel(result.model.upper(), result.tokenizer)
"""
)


def test_extension_answers_for_a_new_algorithm(site: Site) -> None:
    site.backend("acme")
    site.extension("acme", "orpo", NEW_ALGORITHM)
    backend: Any = Registry().get("acme")
    assert backend.supports("orpo").ok
    assert backend.supports("sft").ok
    assert backend.supports("dpo").reason == "sft only"  # the plugin's own answer
    prepared = backend.prepare("tiny")
    assert backend.load_model("orpo", prepared).model == "orpo weights"
    assert backend.load_model("tiny", prepared).model == "weights of tiny"
    assert str(backend) == 'backend "acme" (fake-acme 1.0; extended by orpo of fake-orpo 1.0)'
    assert Registry().row("acme").extensions == ("orpo (fake-orpo 1.0)",)


def test_wrapper_extension(site: Site) -> None:
    site.backend("acme")
    name = site.extension("acme", "policy", WRAPPER)
    backend: Any = Registry().get("acme")
    assert backend.load_model("tiny", backend.prepare("tiny")).model == "WEIGHTS OF TINY"
    assert sys.modules[name].calls == ["before tiny", "after tiny"]


def test_a_wrapper_is_no_answer(site: Site, source: Callable[..., str]) -> None:
    wrapper = "@hookimpl(wrapper=True)\ndef apply_peft(loaded):\n    return (yield)"
    site.backend("acme", source(apply_peft=wrapper))
    assert "missing hook apply_peft" in Registry().row("acme").reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_library", "No module named 'no_such_library'"),
        (
            HEAD + "@hookimpl\ndef load_model(confg): ...",
            'argument confg does not exist. Did you mean "config"?',
        ),
        (HEAD + "@hookimpl\ndef lode_model(config): ...", 'there is no hook "lode_model"'),
    ],
)
def test_broken_extension_breaks_its_backend(site: Site, text: str, reason: str) -> None:
    site.backend("acme")
    site.backend("other")
    site.extension("acme", "orpo", text)
    registry = Registry()
    row = registry.row("acme")
    assert row.state == "broken"
    assert row.reason.startswith('its extension "orpo" of fake-orpo 1.0 cannot be used: ')
    assert reason in row.reason
    assert row.hint == "update fake-orpo, or pip uninstall fake-orpo"
    assert registry.row("other").state == "ready"
    with pytest.raises(errors.BackendBroken, match=r"fake-orpo 1\.0"):
        registry.get("acme")
    orpo = next(f for f in registry.extensions() if f.name == "orpo")
    assert (orpo.state, orpo.reason) == ("broken", row.reason)


def test_extension_for_another_core_is_not_imported(site: Site) -> None:
    site.backend("acme")
    site.extension("acme", "orpo", "raise AssertionError('imported')", requires=["aligntune>=7"])
    registry = Registry()
    assert registry.row("acme").state == "broken"
    assert "fake-orpo 1.0 was built for aligntune >=7" in registry.row("acme").reason
    assert next(f for f in registry.extensions() if f.name == "orpo").state == "incompatible"


def test_extensions_of_a_disabled_backend_are_not_imported(site: Site) -> None:
    site.backend("acme")
    site.extension("acme", "orpo", "raise AssertionError('imported')")
    found = Registry({"ALIGNTUNE_DISABLE_BACKENDS": "acme"}).extensions()
    assert [(f.name, f.state, f.reason) for f in found] == [
        ("orpo", "disabled", 'backend "acme" is disabled')
    ]


ALGORITHM = """
from pydantic import BaseModel
from aligntune_core.algorithms import Algorithm, find

class Parameters(BaseModel):
    zeta: float = 0.1

sft = find("sft")
ODDS = Algorithm(**{**vars(sft), "name": "odds", "aliases": (), "parameters": Parameters})
"""


def test_everything_found_is_listed(site: Site) -> None:
    site.backend("acme")
    site.extension("acme", "timing", WRAPPER)
    site.extension("nobody", "lost", WRAPPER)
    algorithm = site.module(ALGORITHM)
    site.install(
        "fake-extras",
        {
            "aligntune.rewards": {"polite": "nowhere:polite"},
            "aligntune.algorithms": {"odds": f"{algorithm}:ODDS", "even": f"{algorithm}:EVEN"},
        },
        version="3.1",
        editable=site.folder / "src",
    )
    site.install("fake-rival", {"aligntune.rewards": {"polite": "elsewhere:polite"}})
    site.install(
        "fake-needy", {"aligntune.rewards": {"needy": "nowhere:needy"}}, requires=["no-such-library"]
    )
    found = {(f.group, f.name, f.distribution): f for f in Registry().third_party()}
    assert found["aligntune.backends", "acme", "fake-acme"].state == "ready"
    assert found["aligntune.extensions.acme", "timing", "fake-timing"].state == "ready"
    lost = found["aligntune.extensions.nobody", "lost", "fake-lost"]
    assert (lost.state, lost.reason) == ("unknown", 'backend "nobody" is not installed')
    odds = found["aligntune.algorithms", "odds", "fake-extras"]
    assert (odds.state, odds.version, odds.editable) == ("ready", "3.1", True)
    assert odds.path == str(site.folder / "src")
    even = found["aligntune.algorithms", "even", "fake-extras"]
    assert even.state == "broken"
    assert "has no attribute 'EVEN'" in even.reason
    for owner in ("fake-extras", "fake-rival"):
        polite = found["aligntune.rewards", "polite", owner]
        assert (polite.state, polite.reason) == ("conflict", "claimed by fake-extras 3.1 and fake-rival 1.0")
    assert found["aligntune.rewards", "needy", "fake-needy"].state == "missing"


def test_what_takes_a_name_of_ours_is_a_conflict_and_disables_nothing(site: Site) -> None:
    """Each of these would raise whenever it were used."""
    taken = site.module(ALGORITHM.replace("zeta", "learning_rate"))
    named = site.module(ALGORITHM.replace('"odds"', '"D.P.O"'))
    site.install(
        "fake-extras",
        {
            "aligntune.rewards": {"Length": "nowhere:length", "polite": "nowhere:polite"},
            "aligntune.algorithms": {"odds": f"{taken}:ODDS", "dpo": f"{named}:ODDS"},
        },
    )
    found = {(f.group, f.name): (f.state, f.reason) for f in Registry().third_party()}
    ours = "that name belongs to aligntune itself"
    assert found["aligntune.rewards", "Length"] == ("conflict", ours)
    assert found["aligntune.rewards", "polite"] == ("ready", "")
    assert found["aligntune.algorithms", "dpo"] == ("conflict", f"fake-extras 1.0: {ours}")
    assert found["aligntune.algorithms", "odds"] == (
        "conflict",
        "fake-extras 1.0: its parameter learning_rate has the name of a keyword of ours",
    )
    assert find("dpo").paper == "https://arxiv.org/abs/2305.18290"
    with pytest.raises(errors.ConfigError, match=r'"odds" could not be loaded: .*parameter learning_rate'):
        find("odds")


def test_an_algorithm_that_two_bring_is_neithers(site: Site) -> None:
    for number in "12":
        module = site.module(ALGORITHM)
        site.install(f"fake-{number}", {"aligntune.algorithms": {"odds": f"{module}:ODDS"}})
    rows = [f for f in Registry().third_party() if f.name == "odds"]
    assert [(f.state, f.reason) for f in rows] == [("conflict", "claimed by fake-1 1.0 and fake-2 1.0")] * 2
    with pytest.raises(
        errors.ConfigError, match=r'"odds" could not be loaded: claimed by fake-1 1.0 and fake-2 1.0'
    ):
        find("odds")


def test_an_installed_algorithm_is_asked_of_every_backend(site: Site) -> None:
    site.backend("acme")
    site.install("fake-extras", {"aligntune.algorithms": {"odds": f"{site.module(ALGORITHM)}:ODDS"}})
    assert Registry().row("acme").algorithms["odds"].reason == "sft only"
