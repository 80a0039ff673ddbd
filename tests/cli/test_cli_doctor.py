"""``doctor``: the requirement tree, and who is named when an import fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import Result

from aligntune.diagnosis import conflicts, trial
from aligntune_core.backends.registry import HINTS
from aligntune_core.entrypoints import installed
from aligntune_core.model.device import available
from tests.site import Site, plugin

Command = Callable[..., Result]


def package(site: Site, name: str, **modules: str) -> None:
    """Write a package; ``init`` is its ``__init__``."""
    (site.folder / name).mkdir(parents=True, exist_ok=True)
    for module, text in {"init": "", **modules}.items():
        (site.folder / name / f"{'__init__' if module == 'init' else module}.py").write_text(text)


def library(site: Site, name: str, version: str, requires: tuple[str, ...] = (), **modules: str) -> None:
    """Install a distribution whose only package has its name."""
    meta = site.install(name, version=version, requires=requires)
    (meta / "top_level.txt").write_text(f"{name}\n")
    package(site, name, **modules)


@pytest.fixture(autouse=True)
def only_acme(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that doctor starts see the site folder too; of all backends only "acme" is looked at."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site.folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "acme")


def acme(site: Site, requires: tuple[str, ...] = (), first: str = "", **modules: str) -> None:
    """Install backend "acme" of package acme_train, with the modules that it imports for training."""
    light = plugin().replace('devices=("cpu",)', f'devices=("cpu",){first}')
    site.install("acme-train", {"aligntune.backends": {"acme": "acme_train.plugin"}}, requires=requires)
    package(site, "acme_train", plugin=light, **modules)


def problems(command: Command) -> tuple[int, list[dict[str, str]]]:
    result = command("doctor", "--json")
    report = json.loads(result.stdout)
    assert report["ok"] is not bool(report["problems"])
    return result.exit_code, report["problems"]


def test_a_sound_light_backend_is_well(command: Command, site: Site) -> None:
    acme(site, training="import json\n")
    code, found = problems(command)
    assert found == []
    assert code == 0


def test_a_library_that_fails_while_it_is_imported_is_named(command: Command, site: Site) -> None:
    library(
        site,
        "zlib_for_models",
        "7.2",
        init="from zlib_for_models import core",
        core="raise OSError('no symbol x')",
    )
    package(
        site,
        "wrapper",
        init="""
try:
    import zlib_for_models
except OSError as error:
    raise ImportError('wrapper is unwell') from error
""",
    )
    acme(site, training="import wrapper\n")
    code, found = problems(command)
    assert code == 1
    assert len(found) == 1
    assert "OSError: no symbol x" in found[0]["what"]
    assert "Culprit: zlib_for_models 7.2." in found[0]["what"]
    assert "wrapper is unwell" in found[0]["detail"]
    shown = command("doctor")
    assert "wrapper is unwell" not in shown.stdout
    assert "wrapper is unwell" in command("doctor", "-v").stdout


def test_a_process_that_dies_is_told(command: Command, site: Site) -> None:
    acme(site, training="import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    code, found = problems(command)
    assert code == 1
    assert "signal 11" in found[0]["what"]


def test_what_a_library_prints_does_not_disturb_the_verdict(site: Site) -> None:
    acme(site, training="import os\nprint('hello {')\nos.write(1, b'raw words\\n')\n")
    assert trial.run("acme").ok


def test_what_a_library_writes_while_it_is_imported_is_not_left_behind(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    writes = "from pathlib import Path\nPath('compiled').mkdir()\nassert Path('compiled').exists()\n"
    acme(site, training=writes)
    assert trial.run("acme").error == ""
    assert list(here.iterdir()) == []


def test_the_module_that_must_come_first_is_imported_first(site: Site) -> None:
    package(site, "patcher", init="import sys\nassert 'acme_train.training' not in sys.modules")
    acme(site, first=", import_first='patcher'", training="import sys\nassert 'patcher' in sys.modules\n")
    assert trial.run("acme").error == ""


OPT_IN = """
@hookimpl
def prepare(config):
    from aligntune_core.errors import BackendUnavailable
    raise BackendUnavailable(f"acme trains {config.algorithm} on a GPU; for the CPU: export ACME_CPU=yes")
"""


@pytest.mark.parametrize("opt_in", [True, False])
def test_a_device_that_has_to_be_asked_for_is_told_in_the_plugins_words(
    command: Command, site: Site, opt_in: bool
) -> None:
    cuda = "class cuda:\n    is_available = staticmethod(lambda: False)\n"
    package(site, "torch", init=f"{cuda}def get_num_threads():\n    return 1\n")
    light = plugin(prepare=OPT_IN).replace(
        'devices=("cpu",)', f'devices=("cuda",), opt_in_devices={("cpu",) if opt_in else ()}'
    )
    name = f"acme_that_asks_{opt_in}".lower()  # this process keeps the modules that it has imported
    package(site, name, plugin=light, training="import torch\n")
    site.install("acme-train", {"aligntune.backends": {"acme": f"{name}.plugin"}})
    code, found = problems(command)
    assert code == 1
    assert [p["what"] for p in found] == ['backend "acme" trains on cuda; torch sees cpu here']
    assert "ALIGNTUNE_DISABLE_BACKENDS=acme leaves it out" in found[0]["remedy"]
    assert found[0]["remedy"].endswith("for the CPU: export ACME_CPU=yes") is opt_in


@pytest.mark.backend
@pytest.mark.slow
@pytest.mark.skipif(available()[0] != "cpu", reason="there is a GPU")
def test_doctor_says_how_unsloth_is_let_train_on_a_cpu(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aligntune_unsloth")
    if find_spec("unsloth") is None:
        pytest.skip("unsloth is not installed")
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "unsloth")
    monkeypatch.delenv("ALIGNTUNE_UNSLOTH_ALLOW_CPU", raising=False)
    code, found = problems(command)
    assert code == 1
    assert any("ALIGNTUNE_UNSLOTH_ALLOW_CPU=1" in p["remedy"] for p in found)


def test_versions_are_shown_however_a_distribution_spells_its_name(command: Command, site: Site) -> None:
    site.install("unsloth_zoo", version="2026.10.77")
    site.install("Torch", version="2.13.0+cpu")
    acme(site, requires=("unsloth-zoo", "torch"))
    shown = command("doctor").stdout
    assert "unsloth_zoo 2026.10.77" in shown
    assert "Torch 2.13.0+cpu" in shown


def test_an_import_that_takes_too_long_is_told(site: Site) -> None:
    acme(site, training="import time\ntime.sleep(60)\n")
    result = trial.run("acme", timeout=2)
    assert not result.ok
    assert "more than 2 s" in result.error


def test_requirements_are_compared_over_the_whole_tree(command: Command, site: Site) -> None:
    library(site, "deep_library", "1.0", ("nowhere-to-be-found>=3", "plain_library>=99"))
    library(site, "plain_library", "1.0")
    library(site, "middle_library", "2.0", ("deep_library",))
    acme(site, requires=("middle_library[speed]>=1", "skipped; extra == 'speed'"))
    code, found = problems(command)
    said = {p["what"]: p["remedy"] for p in found}
    assert code == 1
    assert said["deep_library 1.0 needs nowhere-to-be-found>=3, but it is not installed"]
    wrong = "deep_library 1.0 needs plain-library>=99, but 1.0 is installed"
    assert said[wrong] == 'pip install "plain-library>=99"'
    assert len(found) == 2


def test_a_wrong_version_of_a_direct_requirement_is_told_once(command: Command, site: Site) -> None:
    acme(site, requires=(f"packaging!={version('packaging')}",))
    code, found = problems(command)
    assert code == 1
    assert len(found) == 1
    assert "acme-train 1.0 needs packaging!=" in found[0]["what"]


def remedies(*backends: str) -> dict[str, str]:
    found = conflicts.examine(d for d in map(installed, backends) if d).conflicts
    return {f"{c.demand.by.name}: {c.demand.name}{c.demand.requirement.specifier}": c.remedy for c in found}


@pytest.mark.parametrize("version", ["1.15.0", "1.16.0"])
def test_one_command_suits_everything_that_requires_a_package(site: Site, version: str) -> None:
    library(site, "methods", version)
    library(site, "patcher", "2026.10.9", ("methods!=0.19.0,<=1.15.0,>=0.18.2",))
    acme(site, requires=("methods>=1.14,<2,!=1.15.0", "patcher>=2026.10"))
    joined = 'pip install "methods!=0.19.0,!=1.15.0,<2,<=1.15.0,>=0.18.2,>=1.14"'
    assert list(remedies("acme-train").values()) == [joined]


def test_what_has_to_be_replaced_goes_first_and_demands_nothing(site: Site) -> None:
    library(site, "tables", "1.0")
    library(site, "methods", "1.10", ("tables>=99",))
    library(site, "patcher", "2025.1.1", ("methods<1", "tables<1"))
    acme(site, requires=("patcher>=2026.10", "methods>=1"))
    assert remedies("acme-train") == {
        "acme-train: patcher>=2026.10": 'pip install "patcher>=2026.10"',
        "patcher: methods<1": 'pip install "patcher>=2026.10"',
        "patcher: tables<1": 'pip install "patcher>=2026.10"',
        "methods: tables>=99": 'pip install "tables>=99"',  # nobody that stays would replace methods
    }


def test_packages_that_exclude_each_other_or_themselves(site: Site) -> None:
    library(site, "methods", "1.0", ("patcher<1",))
    library(site, "patcher", "1.0", ("methods<1", "patcher[fast]>=2"))
    acme(site, requires=("methods", "patcher"))
    assert set(remedies("acme-train").values()) == {'pip install "patcher<1"'}
    library(site, "selfish", "1.0", ("selfish[fast]>=2",))
    assert remedies("selfish") == {"selfish: selfish>=2": 'pip install "selfish>=2"'}


def test_a_companion_built_for_another_torch_need_not_be_there(site: Site) -> None:
    library(site, "tables", "1.0")
    library(site, "methods", "1.0", ("tables>=99",))
    library(site, "torchaudio", "0.1", ("methods==0.1", "absent-library"))
    acme(site, requires=("methods>=0.1",))
    uninstall = "pip uninstall torchaudio (only Unsloth on a GPU may need it), or "
    assert remedies("acme-train") == {
        "torchaudio: methods==0.1": uninstall + 'pip install "methods==0.1,>=0.1"',
        "torchaudio: absent-library": 'pip install "absent-library"',
        "methods: tables>=99": 'pip install "tables>=99"',  # methods stays, if torchaudio goes
    }


def test_our_own_distributions_are_installed_from_a_clone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(site.folder)])
    site.install("aligntune", version="1.0")
    site.install("aligntune-torch", version="0.9")
    site.install("acme-train", requires=["aligntune<1", "aligntune-torch>=1", "aligntune-trl>=1,<2"])
    core = "From a clone of aligntune: pip install -e ."
    assert remedies("acme-train") == {
        "acme-train: aligntune<1": core,
        "acme-train: aligntune-torch>=1": HINTS["torch"],
        "acme-train: aligntune-trl<2,>=1": f"{core} -e plugins/aligntune-trl",
    }


@pytest.mark.parametrize("ours", [True, False])
def test_a_name_that_no_installed_backend_has_is_a_problem(
    command: Command, site: Site, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    acme(site)
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "acme,acne")
    if ours:
        monkeypatch.setitem(HINTS, "acne", "From a clone")
    code, found = problems(command)
    assert code == 1
    assert len(found) == 1
    assert 'ALIGNTUNE_BACKENDS names "acne", but no such backend' in found[0]["what"]
    assert 'Did you mean "acme"?' in found[0]["what"]
    other = "install what brings it, or take it out of ALIGNTUNE_BACKENDS"
    assert found[0]["remedy"] == ("From a clone" if ours else other)


@pytest.mark.parametrize(("torch", "wanted"), [("2.13.0+cpu", 0), ("2.13.0+cu130", 1)])
def test_what_unsloth_needs_on_a_gpu_alone_is_not_asked_for_beside_a_torch_for_cpus(
    command: Command, site: Site, torch: str, wanted: int
) -> None:
    site.install("torch", version=torch)
    site.install("unsloth", version="2026.10.9", requires=("torchvision_of_nobody", "xformers"))
    acme(site, requires=("unsloth",))
    found = [p for p in problems(command)[1] if p["what"].startswith("unsloth ")]
    assert len(found) == 1 + wanted
    assert any("torchvision-of-nobody" in p["what"] for p in found)
    assert any("xformers" in p["what"] for p in found) is bool(wanted)


def test_broken_and_disabled_backends(
    command: Command, broken_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", broken_backend)
    code, found = problems(command)
    assert code == 1
    assert 'backend "acme" is broken' in found[0]["what"]
    monkeypatch.setenv("ALIGNTUNE_DISABLE_BACKENDS", broken_backend)
    assert problems(command) == (0, [])


@pytest.mark.backend
@pytest.mark.slow
def test_the_trl_backend_imports_and_a_clashing_torchvision_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clash is the one of a torchvision whose compiled part was built for another torch."""
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "trl")
    sound = trial.run("trl")
    assert sound.ok, sound
    assert "cpu" in [device["kind"] for device in sound.devices]

    library(
        site, "torchvision", "0.29.1", init="raise RuntimeError('operator torchvision::nms does not exist')"
    )
    clash = trial.run("trl")
    assert not clash.ok
    assert clash.culprit == "torchvision 0.29.1"
    assert "pip uninstall torchvision (only Unsloth on a GPU may need it)" in clash.advice
