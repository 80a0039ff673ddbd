"""Every state of a backend, through the API: its row in the listing, and what naming it raises."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aligntune_core import entrypoints, errors
from aligntune_core.backends.registry import Registry, refresh, registry
from aligntune_core.version import __version__

if TYPE_CHECKING:
    from tests.site import Site

MARK = "from aligntune_core import BackendInfo, Support, hookimpl\n"

# change to a sound plugin -> what the row's reason has to say
BROKEN: dict[str, tuple[dict[str, str | None], str]] = {
    "ImportError": (
        {"head": "import no_such_library"},
        "ModuleNotFoundError: No module named 'no_such_library'",
    ),
    "SyntaxError": ({"head": "def ("}, "SyntaxError"),
    "SystemExit": ({"head": "raise SystemExit('no licence')"}, "SystemExit: no licence"),
    "NotImplementedError": (
        {"head": "raise NotImplementedError('needs a GPU\\nsecond line')"},
        "needs a GPU",
    ),
    "misspelt hook": (
        {"load_model": MARK + "@hookimpl\ndef load_modle(config, prepared): ..."},
        'there is no hook "load_modle". Did you mean "load_model"?',
    ),
    "missing hook": (
        {"apply_peft": None},
        "missing hook apply_peft: a backend must implement backend_info, ",
    ),
    "two missing hooks": ({"apply_peft": None, "load_model": None}, "missing hook load_model, apply_peft"),
    "no marker": (
        {"load_model": "def load_model(config, prepared): ..."},
        "function load_model is named like a hook but not marked: put @hookimpl above it",
    ),
    "extra argument": (
        {"load_model": MARK + "@hookimpl\ndef load_model(config, prepard): ..."},
        'load_model: argument prepard does not exist. Did you mean "prepared"? It may take: config, prepared',
    ),
    "keyword-only argument": (
        {"load_model": MARK + "@hookimpl\ndef load_model(config, *, prepared=None): ..."},
        "load_model: argument prepared is keyword-only",
    ),
    "star": (
        {"apply_peft": MARK + "@hookimpl\ndef apply_peft(*args): ..."},
        "apply_peft: *args is not allowed",
    ),
    "double star": (
        {"apply_peft": MARK + "@hookimpl\ndef apply_peft(**kw): ..."},
        "apply_peft: **kw is not allowed",
    ),
    "default": (
        {"apply_peft": MARK + "@hookimpl\ndef apply_peft(loaded, config=None): ..."},
        "apply_peft: argument config has a default and would never be passed",
    ),
    "info returns None": (
        {"backend_info": MARK + "@hookimpl\ndef backend_info(): return None"},
        "backend_info returned None; it must return aligntune_core.BackendInfo",
    ),
    "info of the wrong type": (
        {"backend_info": MARK + "@hookimpl\ndef backend_info(): return {'summary': 'x'}"},
        "backend_info returned dict {'summary': 'x'}; it must return aligntune_core.BackendInfo",
    ),
    "info raises": (
        {"backend_info": MARK + "@hookimpl\ndef backend_info(): 1/0"},
        "backend_info raised ZeroDivision",
    ),
    "info's devices a string": (
        {
            "backend_info": MARK
            + "@hookimpl\ndef backend_info(): return BackendInfo(summary='x', devices='cpu')"
        },
        "devices must be a tuple of strings, not 'cpu'",
    ),
    "info's honours a list": (
        {
            "backend_info": MARK
            + "@hookimpl\ndef backend_info(): return BackendInfo(summary='x', honours=['a'])"
        },
        "honours must be a frozenset of config paths, not list ['a']",
    ),
    "info's options no model": (
        {
            "backend_info": MARK
            + "@hookimpl\ndef backend_info(): return BackendInfo(summary='x', options=dict)"
        },
        "options must be a pydantic model class or None, not class dict",
    ),
    "wrapper that is no generator": (
        {"tail": "@hookimpl(wrapper=True, specname='prepare')\ndef policy(config): ..."},
        "never yields",
    ),
}


def test_good_plugin(site: Site) -> None:
    site.backend("good")
    row = Registry().row("good")
    assert (row.state, row.summary, row.devices) == ("ready", "a plugin for tests", ("cpu",))
    assert (row.distribution, row.version, row.path) == ("fake-good", "1.0", str(site.folder))
    assert row.algorithms["sft"].ok
    assert (row.algorithms["dpo"].ok, row.algorithms["dpo"].reason) == (False, "sft only")
    assert (row.reason, row.hint, row.traceback) == ("", "", "")
    assert Registry().get("good").info.summary == "a plugin for tests"


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_plugin(site: Site, source: Callable[..., str], fault: str) -> None:
    changes, reason = BROKEN[fault]
    site.backend("bad", source(**changes))
    site.backend("good")
    registry = Registry()
    rows = {row.name: row for row in registry.rows()}
    assert rows["good"].state == "ready"  # one broken plugin leaves the others alone
    assert rows["bad"].state == "broken"
    assert reason in rows["bad"].reason
    assert "\n" not in rows["bad"].reason
    with pytest.raises(errors.BackendBroken) as caught:
        registry.get("bad")
    assert str(caught.value).startswith('backend "bad" (fake-bad 1.0) is broken: ')
    assert reason in str(caught.value)


def test_broken_import_keeps_its_cause_and_traceback(site: Site) -> None:
    module = site.backend("bad", "import no_such_library")
    registry = Registry()
    trace = registry.row("bad").traceback
    assert f"{module}.py" in trace
    assert "No module named 'no_such_library'" in trace
    with pytest.raises(errors.BackendBroken) as caught:
        registry.get("bad")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_keyboard_interrupt_passes(site: Site) -> None:
    site.backend("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry().rows()


def test_entry_point_that_is_no_module(site: Site, source: Callable[..., str]) -> None:
    module = site.module(source() + "\nclass Plugin: ...\n")
    site.install("fake-class", {"aligntune.backends": {"klass": f"{module}:Plugin"}})
    site.install("fake-gone", {"aligntune.backends": {"gone": f"{module}:Absent"}})
    registry = Registry()
    assert (
        "must name a module whose top level holds the hooks, not class Plugin" in registry.row("klass").reason
    )
    assert "AttributeError" in registry.row("gone").reason
    assert {registry.row(n).state for n in ("klass", "gone")} == {"broken"}


def test_honours_has_to_name_real_fields(site: Site, source: Callable[..., str]) -> None:
    info = "@hookimpl\ndef backend_info(): return BackendInfo(summary='x', honours=frozenset({%s}))"
    paths = "'optim.learning_rat', 'optim', 'parameters.beta', 'model.quantization', 'data.packing'"
    site.backend("bad", source(backend_info=info % paths))
    with pytest.raises(errors.BackendBroken) as caught:
        Registry().get("bad")
    said = str(caught.value)
    assert 'no config path "optim.learning_rat". Did you mean "optim.learning_rate"?' in said
    assert '"optim" is a section; name its fields' in said
    assert not any(path in said for path in ("beta", "quantization", "packing"))


def test_conflict(site: Site) -> None:
    site.backend("twice")
    site.install("other-twice", {"aligntune.backends": {"twice": "other_twice.plugin"}}, version="2.0")
    registry = Registry()
    row = registry.row("twice")
    assert (row.state, row.reason) == ("conflict", "claimed by fake-twice 1.0 and other-twice 2.0")
    assert row.distributions == ("fake-twice 1.0", "other-twice 2.0")
    with pytest.raises(
        errors.BackendConflict, match=r"fake-twice 1\.0 and other-twice 2\.0.*pip uninstall other-twice"
    ):
        registry.get("twice")


@pytest.mark.parametrize(("stale_first", "counts"), [(False, "fake-once 1.1"), (True, "Fake_Once 0.9")])
def test_same_distribution_twice_is_one(
    site: Site, monkeypatch: pytest.MonkeyPatch, stale_first: bool, counts: str
) -> None:
    """A stale egg-info beside an editable install: the first on sys.path counts, as for the import system."""
    module = site.backend("once", version="1.1", editable=site.folder)
    stale, entries = site.folder / "checkout", {"aligntune.backends": {"once": module}}
    site.install("Fake_Once", entries, version="0.9", kind="egg-info", folder=stale)
    monkeypatch.setattr("sys.path", [str(stale), *sys.path] if stale_first else [*sys.path, str(stale)])
    row = Registry().row("once")
    assert (row.state, row.distributions) == ("ready", (counts,))
    assert (row.editable, row.path) == ((False, str(stale)) if stale_first else (True, str(site.folder)))


def test_disabled_is_not_imported(site: Site) -> None:
    site.backend("off", "raise AssertionError('imported')")
    registry = Registry({"ALIGNTUNE_DISABLE_BACKENDS": "off, "})
    assert (registry.row("off").state, registry.row("off").reason) == (
        "disabled",
        "disabled by ALIGNTUNE_DISABLE_BACKENDS",
    )
    with pytest.raises(
        errors.BackendUnavailable, match="To mend it: take it out of ALIGNTUNE_DISABLE_BACKENDS"
    ):
        registry.get("off")


def test_allow_list(site: Site) -> None:
    site.backend("wanted")
    site.backend("other", "raise AssertionError('imported')")
    registry = Registry({"ALIGNTUNE_BACKENDS": "wanted"})
    assert {r.name: r.state for r in registry.rows() if r.name in ("wanted", "other")} == {
        "wanted": "ready",
        "other": "disabled",
    }
    assert list(registry.ready()) == ["wanted"]
    with pytest.raises(errors.BackendUnavailable, match="not in ALIGNTUNE_BACKENDS"):
        registry.get("other")


def test_disabled_but_unknown_is_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.backend("acme")
    with caplog.at_level(logging.WARNING, logger="aligntune"):
        registry = Registry({"ALIGNTUNE_DISABLE_BACKENDS": "acne"})
    note = 'ALIGNTUNE_DISABLE_BACKENDS names "acne", but no such backend is installed. Did you mean "acme"?'
    assert registry.notes[0].startswith(note)
    assert note in caplog.text
    assert registry.row("acme").state == "ready"
    with pytest.raises(errors.BackendNotFound, match='no backend "acne" is installed'):
        registry.get("acne")


def test_unknown(site: Site) -> None:
    site.backend("acme")
    registry = Registry()
    with pytest.raises(errors.BackendNotFound) as caught:
        registry.get("acmee")
    assert 'no backend "acmee" is installed. Did you mean "acme"? Installed: acme' in str(caught.value)
    assert isinstance(caught.value, LookupError)
    with pytest.raises(errors.BackendNotFound, match='Did you mean "acme"'):
        registry.get("ACME")
    assert registry.row("acmee").state == "unknown"
    assert "acmee" not in [row.name for row in registry.rows()]


@pytest.mark.parametrize("name", ["trl", "unsloth", "torch"])
def test_our_own_plugins_have_an_install_hint(site: Site, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("sys.path", [str(site.folder)])
    with pytest.raises(errors.BackendNotFound, match=f"pip install -e .* -e plugins/aligntune-{name}$"):
        Registry().get(name)


@pytest.mark.parametrize("wanted", [">=2,<3", "<1", "==0.9.*"])
def test_built_for_another_core(site: Site, wanted: str) -> None:
    site.backend("alien", "raise AssertionError('imported')", requires=[f"aligntune{wanted}"])
    registry = Registry()
    row = registry.row("alien")
    assert row.state == "incompatible"
    for version in (*wanted.split(","), __version__):
        assert version in row.reason
    with pytest.raises(errors.BackendBroken, match=f"this is aligntune {__version__}"):
        registry.get("alien")


@pytest.mark.parametrize("requires", [[], ["aligntune"], ["aligntune>=1,<2"], ["Aligntune>=1.0.0.dev1"]])
def test_built_for_this_core(site: Site, requires: list[str]) -> None:
    site.backend("native", requires=requires)
    assert Registry().row("native").state == "ready"


def test_missing_requirement(site: Site) -> None:
    needs = ["aligntune>=1", "no-such-library>=3", "pluggy"]
    site.backend("needy", "raise AssertionError('imported')", requires=needs)
    registry = Registry()
    row = registry.row("needy")
    assert (row.state, row.missing) == ("missing", ("no-such-library>=3 (is not installed)",))
    assert row.hint == 'pip install "no-such-library>=3"'
    assert row.summary == "fake-needy for tests"
    with pytest.raises(errors.BackendUnavailable, match="no-such-library>=3") as caught:
        registry.get("needy")
    assert isinstance(caught.value, ImportError)


def test_requirement_of_the_wrong_version(site: Site) -> None:
    site.install("some-library", version="1.5")
    site.backend("needy", requires=["some-library>=2"])
    row = Registry().row("needy")
    assert (row.state, row.missing) == ("missing", ("some-library>=2 (version 1.5 is installed)",))


def test_unreadable_requirement_is_the_plugins_fault(site: Site) -> None:
    site.backend("odd", requires=["this is (no requirement"])
    row = Registry().row("odd")
    assert row.state == "broken"
    assert "fake-odd 1.0 has a requirement that cannot be read" in row.reason


def test_unreadable_metadata_leaves_others_alone(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.backend("good")
    bad = site.install("bad-origin", {"aligntune.backends": {"origin": "x"}})
    (bad / "direct_url.json").write_text("{")
    nameless = site.install("nameless", {"aligntune.backends": {"nameless": "x"}})
    (nameless / "METADATA").unlink()
    entrypoints.refresh()
    names = Registry().names()
    assert "good" in names
    assert not {"origin", "nameless"} & set(names)
    assert caplog.text.count("is passed over, its metadata") == 2


def test_entries_of_the_other_aligntune_are_ignored(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(site.folder)])
    site.install("aligntune", {"aligntune.backends": {"sft": "aligntune.nowhere"}}, version="0.1.28")
    assert Registry().names() == []
    assert Registry().third_party() == []


def test_rows_are_json(site: Site, source: Callable[..., str]) -> None:
    site.backend("good")
    site.backend("bad", source(apply_peft=None))
    rows = json.loads(json.dumps([row.as_dict() for row in Registry().rows()]))
    good = next(row for row in rows if row["name"] == "good")
    assert good["state"] == "ready"
    assert good["algorithms"]["sft"] == {"ok": True, "reason": ""}
    assert {"name", "state", "distribution", "version", "path", "editable", "reason"} <= good.keys()


def test_only_the_named_plugin_is_imported(site: Site) -> None:
    site.backend("good")
    site.backend("other", "raise AssertionError('imported')")
    registry = Registry()
    assert registry.names()
    assert registry.get("good").name == "good"
    assert registry.row("other").state == "broken"


def test_listing_tolerates_a_failing_supports_algorithm(site: Site, source: Callable[..., str]) -> None:
    site.backend(
        "odd", source(supports_algorithm="@hookimpl\ndef supports_algorithm(algorithm): return None")
    )
    answer = Registry().row("odd").algorithms["sft"]
    assert not answer.ok
    assert "HookError" in answer.reason
    assert "supports_algorithm" in answer.reason


def test_listing_says_which_device_is_lacking(site: Site, source: Callable[..., str]) -> None:
    info = "@hookimpl\ndef backend_info(): return BackendInfo(summary='x', devices=('abacus',))"
    site.backend("wood", source(backend_info=info))
    row = Registry().row("wood")
    assert row.state == "ready"
    assert row.hint.startswith(
        "trains on abacus, which this machine does not seem to have. Looked for: NVIDIA driver"
    )


def test_the_processes_registry_follows_the_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.backend("acme")
    refresh()
    assert registry() is registry()
    assert registry().row("acme").state == "ready"
    monkeypatch.setenv("ALIGNTUNE_DISABLE_BACKENDS", "acme")
    assert registry().row("acme").state == "disabled"
    site.backend("later")
    assert "later" not in registry().names()
    refresh()
    assert "later" in registry().names()
    refresh()
