"""The factory holds a backend to its word. The backend is a light, made-up one with real metadata."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core import errors
from aligntune_core.backends import registry
from aligntune_core.create import create_rl_trainer, create_sft_trainer
from aligntune_core.pipeline.plan import plan

if TYPE_CHECKING:
    from tests.site import Site

ROWS = [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(6)]

HONEST = {
    "head": """
from aligntune_core import BackendInfo, Device, LoadedModel, Prepared, Support, hookimpl
from pydantic import BaseModel
calls = []
class Options(BaseModel):
    level: int = 1
""",
    "backend_info": """
@hookimpl
def backend_info():
    return BackendInfo(
        summary="made up", honours=frozenset({"optim.learning_rate", "optim.weight_decay"}), options=Options,
        devices=("cpu",), url="https://example.org/acme",
    )
""",
    "prepare": """
@hookimpl
def prepare(config):
    calls.append("prepare")
    return Prepared(device=Device(kind="cpu"))

@hookimpl
def planned(config, prepared):
    return {"optim.learning_rate": config.optim.learning_rate}
""",
    "load_model": """
@hookimpl
def load_model(config, prepared):
    calls.append("load_model")
    return LoadedModel("weights", None)
""",
    "apply_peft": """
@hookimpl
def apply_peft(loaded, config):
    import random
    calls.append(("apply_peft", random.random()))
    return loaded
""",
    "build_trainer": """
class Engine:
    native = model = None
    def __init__(self, config, datasets):
        self.config, self.rows = config, len(datasets.train)
    def effective(self):
        return {"optim.weight_decay": self.config.optim.weight_decay, "data.rows": self.rows}
    def train(self, resume_from=None): ...
    def evaluate(self, rows=None): return {}
    def save(self, path, form): ...
    def generate(self, prompts, sampling): return []
    def close(self): ...

@hookimpl
def build_trainer(loaded, config, datasets, prepared, run):
    import random
    calls.append(("build_trainer", random.random()))
    return Engine(config, datasets)
""",
}

Create = Callable[..., Any]


@pytest.fixture
def acme(site: Site, source: Callable[..., str], tmp_path: Any) -> Callable[..., Create]:
    """Install backend "acme", some hooks replaced; returns a call that creates a trainer on it."""

    def install(**changes: str) -> Create:
        site.backend("acme", source(**{**HONEST, **changes}))

        def create(**keywords: Any) -> Any:
            settings = {"backend": "acme", "output_dir": str(tmp_path / "run")} | keywords
            return create_sft_trainer("some-model", ROWS, **settings)

        return create

    return install


def module(trainer: Any) -> Any:
    return sys.modules[type(trainer._engine).__module__]


def test_hooks_are_called_in_order_and_seeded_before_adapter_and_trainer(acme: Callable[..., Create]) -> None:
    import random

    calls = module(acme()(seed=7)).calls
    random.seed(7)
    first = random.random()
    assert calls == ["prepare", "load_model", ("apply_peft", first), ("build_trainer", first)]


def test_a_field_that_the_backend_does_not_honour_is_refused_before_prepare(
    acme: Callable[..., Create],
) -> None:
    create = acme()
    with pytest.raises(
        errors.NotHonoured, match=r'backend "acme" does not honour max_grad_norm \(optim.max_grad_norm\)'
    ):
        create(max_grad_norm=0.3)
    with pytest.raises(errors.NotHonoured) as caught:
        create(max_grad_norm=0.3, packing=True)
    assert len(caught.value.problems) == 2
    assert not any(
        "prepare" in getattr(m, "calls", ()) for n, m in sys.modules.items() if "aligntune_fake" in n
    )
    create(max_grad_norm=1.0)


def test_an_honoured_field_that_does_not_come_back_is_the_plugins_fault(acme: Callable[..., Create]) -> None:
    silent = HONEST["build_trainer"].replace('"optim.weight_decay": self.config.optim.weight_decay, ', "")
    create = acme(build_trainer=silent)
    create()
    with pytest.raises(
        errors.ContractViolation, match=r"honours weight_decay.*fault of the plugin.*example\.org"
    ):
        create(weight_decay=0.1)


# An extension that passes on a field which the backend does not, and tells what is in force.
CLIPPING = """
from aligntune_core import BackendInfo, hookimpl

@hookimpl
def backend_info():
    return BackendInfo(honours=frozenset({"optim.max_grad_norm"}))

@hookimpl(wrapper=True)
def build_trainer(config):
    engine = yield
    own = engine.effective
    engine.effective = lambda: {**own(), "optim.max_grad_norm": config.optim.max_grad_norm}
    return engine
"""


def test_an_extension_makes_its_backend_honour_more(acme: Callable[..., Create], site: Site) -> None:
    create = acme()
    with pytest.raises(errors.NotHonoured, match=r"does not honour max_grad_norm"):
        create(max_grad_norm=0.3)
    site.extension("acme", "clipping", CLIPPING)
    registry.refresh()
    assert registry.registry().get("acme").info.honours == {
        "optim.learning_rate",
        "optim.weight_decay",
        "optim.max_grad_norm",
    }
    assert create(max_grad_norm=0.3).effective["optim.max_grad_norm"] == 0.3
    with pytest.raises(errors.NotHonoured, match="does not honour packing"):
        create(max_grad_norm=0.3, packing=True)


def test_what_an_extension_honours_has_to_come_back(acme: Callable[..., Create], site: Site) -> None:
    create = acme()
    promise = CLIPPING.partition("@hookimpl(wrapper=True)")[0]
    site.extension("acme", "clipping", promise)
    registry.refresh()
    with pytest.raises(errors.ContractViolation, match="honours max_grad_norm"):
        create(max_grad_norm=0.3)


def test_a_plan_that_differs_is_refused_before_weights_load(acme: Callable[..., Create]) -> None:
    create = acme(prepare=HONEST["prepare"].replace("config.optim.learning_rate}", "5e-5}"))
    with pytest.raises(
        errors.ContractViolation, match=r"learning_rate.*asked for 0\.001, the library would use 5e-05"
    ):
        create(learning_rate=1e-3)
    assert not any(
        "load_model" in getattr(m, "calls", ()) for n, m in sys.modules.items() if "aligntune_fake" in n
    )


def test_an_effective_value_that_differs_is_refused(acme: Callable[..., Create]) -> None:
    create = acme(build_trainer=HONEST["build_trainer"].replace("self.config.optim.weight_decay", "0.5"))
    with pytest.raises(errors.ContractViolation, match=r"asked for 0\.0, the library uses 0\.5"):
        create()


def test_rows_that_vanish_in_the_library_are_noticed(acme: Callable[..., Create]) -> None:
    create = acme(
        build_trainer=HONEST["build_trainer"].replace(
            "self.rows = config, len(", "self.rows = config, -1 + len("
        )
    )
    with pytest.raises(errors.ContractViolation, match="accepted 5 of 6 rows"):
        create()


def test_options_are_checked_by_the_plugins_own_model(acme: Callable[..., Create]) -> None:
    create = acme()
    create(backend_options={"level": 3})
    with pytest.raises(errors.ConfigError, match=r'no such option\. Did you mean "level"\?'):
        create(backend_options={"levle": 3})
    with pytest.raises(errors.ConfigError, match=r"backend_options\.level: .*got 'high'"):
        create(backend_options={"level": "high"})
    with pytest.raises(errors.NotHonoured, match="4bit"):
        create(quantization={"load_in_4bit": True})


def test_an_algorithm_it_does_not_train_names_those_that_do(acme: Callable[..., Create]) -> None:
    acme()
    with pytest.raises(
        errors.UnsupportedAlgorithm, match=r'"acme" does not train "dpo": sft only\. Backends that do: .*trl'
    ):
        create_rl_trainer("m", [], algorithm="dpo", backend="acme")


def test_modules_that_interfere_are_named_with_the_remedy(
    acme: Callable[..., Create], monkeypatch: pytest.MonkeyPatch
) -> None:
    info = HONEST["backend_info"]
    create = acme(
        backend_info=info.replace('summary="made up",', 'summary="made up", forbids=("fake_patcher",),')
    )
    create()
    monkeypatch.setitem(sys.modules, "fake_patcher", types.ModuleType("fake_patcher"))
    with pytest.raises(errors.BackendInterference, match=r"fake_patcher is loaded.*Start a new process"):
        create()


def test_a_module_that_must_come_first(acme: Callable[..., Create], monkeypatch: pytest.MonkeyPatch) -> None:
    info = HONEST["backend_info"]
    create = acme(
        backend_info=info.replace('summary="made up",', 'summary="made up", import_first="fake_first",')
    )
    monkeypatch.setattr("aligntune_core.pipeline.refusals.PATCHED_LIBRARIES", ("fake_library",))
    monkeypatch.setitem(sys.modules, "fake_library", types.ModuleType("fake_library"))
    early = r'fake_library was imported before fake_first(.|\n)*isolation="process"'
    with pytest.raises(errors.BackendInterference, match=early):
        create()
    monkeypatch.setitem(sys.modules, "fake_first", types.ModuleType("fake_first"))
    with pytest.raises(errors.BackendInterference, match=early):
        create()  # there, but too late
    monkeypatch.delitem(sys.modules, "fake_library")
    monkeypatch.setitem(sys.modules, "fake_library", types.ModuleType("fake_library"))
    create()


def test_an_exception_of_a_hook_passes_through_with_a_note(acme: Callable[..., Create]) -> None:
    create = acme(
        load_model="@hookimpl\ndef load_model(config, prepared):\n    raise MemoryError('no room')\n"
    )
    with pytest.raises(MemoryError, match="no room") as caught:
        create()
    assert caught.value.__notes__ == ['raised in hook load_model of backend "acme" (fake-acme 1.0)']


def test_auto_says_which_backend_it_took_and_why_it_passed_over_others(
    acme: Callable[..., Create], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create = acme()
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "acme")
    with caplog.at_level(logging.INFO, "aligntune"):
        assert create(backend="auto").backend == "acme"
    line = next(r.message for r in caplog.records if "chosen" in r.message)
    assert line.startswith('backend "acme" chosen (auto: acme trains sft on cpu')
    assert "trl: disabled" in line
    with pytest.raises(
        errors.BackendUnavailable, match=r"no backend can run this sft job(.|\n)*acme: .*max_grad_norm"
    ):
        create(backend="auto", max_grad_norm=0.1)


def test_plan_loads_no_weights(acme: Callable[..., Create]) -> None:
    acme()
    found = plan({"algorithm": "sft", "model_name": "m", "dataset_name": ROWS, "backend": "acme"})
    assert found.config.optim.max_steps == found.config.optim.num_epochs
    assert found.datasets.report is not None
    assert found.datasets.report.rows_given == 6
    assert found.reason == "named in the call"
