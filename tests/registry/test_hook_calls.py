"""``Backend``: what it passes to hooks, what it accepts from them, and what it says when it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core import errors
from aligntune_core.backends.backend import Backend
from aligntune_core.backends.registry import Registry
from aligntune_core.types import Device, Prepared, Support

if TYPE_CHECKING:
    from tests.site import Site

NAMED = r'of backend "acme" \(fake-acme 1\.0\)'
PREPARED = Prepared(device=Device(kind="cpu"), tokenizer="t")


def acme(site: Site, text: str) -> Backend:
    site.backend("acme", text)
    return Registry().get("acme")


def call(backend: Any, hook: str) -> Any:
    """Call one method with stand-ins that the fake plugin only passes around."""
    arguments: dict[str, tuple[Any, ...]] = {
        "supports_algorithm": ("sft",),
        "problems": ("config",),
        "prepare": ("config",),
        "planned": ("config", PREPARED),
        "remarks": ("config", PREPARED),
        "load_model": ("config", PREPARED),
        "apply_peft": ("loaded", "config", PREPARED),
        "build_trainer": ("loaded", "config", "datasets", PREPARED, "run"),
    }
    return getattr(backend, hook.replace("_algorithm", ""))(*arguments[hook])


SIGNATURES = {
    "supports_algorithm": "algorithm",
    "problems": "config",
    "prepare": "config",
    "planned": "config, prepared",
    "remarks": "config, prepared",
    "load_model": "config, prepared",
    "apply_peft": "loaded, config, prepared",
    "build_trainer": "loaded, config, datasets, prepared, run",
}
NEEDED = {
    "supports_algorithm": "Support",
    "prepare": "Prepared",
    "load_model": "LoadedModel",
    "apply_peft": "LoadedModel",
}


def test_hooks_in_order(site: Site, source: Callable[..., str]) -> None:
    backend: Any = acme(site, source())
    prepared = backend.prepare("tiny")
    loaded = backend.load_model("tiny", prepared)
    wrapped = backend.apply_peft(loaded, "tiny", prepared)
    assert (wrapped.model, wrapped.tokenizer) == ("weights of tiny with adapter", "tokenizer of tiny")
    assert backend.build_trainer(wrapped, "tiny", None, prepared, None).evaluate() == {}
    assert str(backend) == 'backend "acme" (fake-acme 1.0)'


# Core answers these itself where nobody else does; build_trainer is held to more than a type.
ANSWERED = ("problems", "prepare", "planned", "remarks", "build_trainer")


@pytest.mark.parametrize("hook", [h for h in SIGNATURES if h not in ANSWERED])
def test_none_is_an_error_that_names_the_hook(site: Site, source: Callable[..., str], hook: str) -> None:
    backend = acme(site, source(**{hook: f"@hookimpl\ndef {hook}({SIGNATURES[hook]}): return None"}))
    with pytest.raises(
        errors.HookError, match=f"hook {hook} {NAMED} returned None: no implementation answered it"
    ):
        call(backend, hook)


@pytest.mark.parametrize("hook", NEEDED)
def test_wrong_type(site: Site, source: Callable[..., str], hook: str) -> None:
    backend = acme(site, source(**{hook: f"@hookimpl\ndef {hook}({SIGNATURES[hook]}): return ['x'] * 50"}))
    with pytest.raises(errors.HookError) as caught:
        call(backend, hook)
    assert f"hook {hook} of backend \"acme\" (fake-acme 1.0) returned list ['x', " in str(caught.value)
    assert str(caught.value).endswith(f"it must return aligntune_core.{NEEDED[hook]}")


@pytest.mark.parametrize("hook", SIGNATURES)
def test_exceptions_pass_with_a_note(site: Site, source: Callable[..., str], hook: str) -> None:
    raising = f"@hookimpl\ndef {hook}({SIGNATURES[hook]}): raise FloatingPointError('mine')"
    backend = acme(site, source(**{hook: raising}))
    with pytest.raises(FloatingPointError, match="mine") as caught:
        call(backend, hook)
    assert caught.value.__notes__ == [f'raised in hook {hook} of backend "acme" (fake-acme 1.0)']
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("answer", "ok", "reason"),
    [("True", True, ""), ("False", False, ""), ("Support(False, 'why')", False, "why")],
)
def test_supports_is_normalised(
    site: Site, source: Callable[..., str], answer: str, ok: bool, reason: str
) -> None:
    text = source(supports_algorithm=f"@hookimpl\ndef supports_algorithm(algorithm): return {answer}")
    assert acme(site, text).supports("dpo") == Support(ok, reason)


def test_engine_lacking_members(site: Site, source: Callable[..., str]) -> None:
    text = """
class Half:
    @property
    def native(self): raise RuntimeError("a property was run")
    def train(self, resume_from=None): ...
    def effective(self): return {}

@hookimpl
def build_trainer(loaded, prepared): return Half()
"""
    with pytest.raises(errors.HookError, match="it lacks model, evaluate, save, generate, close"):
        call(acme(site, source(build_trainer=text)), "build_trainer")


def test_engine_that_delegates(site: Site, source: Callable[..., str]) -> None:
    text = """
class Proxy:
    def __getattr__(self, name): return name if name == "native" else lambda *a, **k: name

@hookimpl
def build_trainer(loaded, prepared): return Proxy()
"""
    assert call(acme(site, source(build_trainer=text)), "build_trainer").native == "native"


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("def train(self): ...", r"train\(\): got an unexpected keyword argument 'resume_from'"),
        ("def evaluate(self): ...", r"evaluate\(\): too many positional arguments"),
        ("def save(self, path): ...", r"save\(path\): too many positional arguments"),
        (
            "def generate(self, prompts, max_new_tokens, temperature): ...",
            r"generate.*required argument: 'temperature'",
        ),
        ("def close(self, force): ...", r"close\(force\): missing a required argument: 'force'"),
        ("generate = 3", "generate is no method"),
    ],
)
def test_engine_that_core_cannot_call(
    method: str, reason: str, site: Site, source: Callable[..., str]
) -> None:
    text = f"""
class Wrong:
    native = model = None
    def effective(self): return {{}}
    def train(self, resume_from=None): ...
    def evaluate(self, rows=None): ...
    def save(self, path, form): ...
    def generate(self, prompts, sampling): ...
    def close(self): ...
    {method}

@hookimpl
def build_trainer(loaded, prepared): return Wrong()
"""
    with pytest.raises(errors.HookError, match=f"core cannot call: {reason}"):
        call(acme(site, source(build_trainer=text)), "build_trainer")


def test_problems_are_collected_from_the_backend_and_its_extensions(
    site: Site, source: Callable[..., str]
) -> None:
    hook = "from aligntune_core import hookimpl\n@hookimpl\ndef problems(config): return {answer}"
    site.backend("acme", source(tail=hook.format(answer="['no ' + config, 'neither']")))
    site.extension("acme", "house", hook.format(answer="('a rule', 'neither')"))
    site.extension("acme", "quiet", hook.format(answer="None"))
    backend: Any = Registry().get("acme")
    assert sorted(backend.problems("tiny")) == ["a rule", "neither", "no tiny"]


@pytest.mark.parametrize("answer", ["'a sentence'", "[1]", "{}"])
def test_problems_are_sentences(site: Site, source: Callable[..., str], answer: str) -> None:
    backend = acme(site, source(tail=f"@hookimpl\ndef problems(config): return {answer}"))
    with pytest.raises(errors.HookError, match=f"hook problems {NAMED} returned .*must return a list of str"):
        call(backend, "problems")


def test_nothing_is_planned_where_no_hook_says_so(site: Site, source: Callable[..., str]) -> None:
    assert call(acme(site, source()), "planned") == {}
    wrong = source(tail="@hookimpl\ndef planned(config): return ['optim.learning_rate']")
    site.backend("other", wrong)
    with pytest.raises(
        errors.HookError, match=r"hook planned of backend \"other\".*it must return a mapping"
    ):
        call(Registry().get("other"), "planned")


def test_what_prepare_keeps_reaches_every_later_hook(site: Site, source: Callable[..., str]) -> None:
    changes = {
        "prepare": "@hookimpl\ndef prepare(config): return Prepared(device=Device(kind='cpu'), state=[config])",
        "load_model": "@hookimpl\ndef load_model(prepared): return LoadedModel(prepared.state, None)",
        "apply_peft": "@hookimpl\ndef apply_peft(loaded, prepared):\n    prepared.state.append('adapter')\n"
        "    return loaded",
        "tail": "@hookimpl\ndef planned(prepared): return {'state': list(prepared.state)}",
    }
    backend: Any = acme(site, source(**changes))
    prepared = backend.prepare("tiny")
    assert backend.planned("tiny", prepared) == {"state": ["tiny"]}
    loaded = backend.apply_peft(backend.load_model("tiny", prepared), "tiny", prepared)
    assert loaded.model == ["tiny", "adapter"]


def test_device_that_the_backend_does_not_train_on(site: Site, source: Callable[..., str]) -> None:
    prepare = "@hookimpl\ndef prepare(config): return Prepared(device=Device(kind='mps'))"
    with pytest.raises(
        errors.BackendUnavailable, match=r"trains on cpu; this process would use mps\. Looked for"
    ):
        call(acme(site, source(prepare=prepare)), "prepare")


def test_a_plugin_for_an_older_core_with_fewer_arguments_works(
    site: Site, source: Callable[..., str]
) -> None:
    old = "@hookimpl\ndef load_model(config): return LoadedModel('old ' + config, None)"
    older = "@hookimpl\ndef apply_peft(loaded): return loaded"
    backend: Any = acme(site, source(load_model=old, apply_peft=older))
    assert backend.apply_peft(backend.load_model("tiny", PREPARED), "tiny", PREPARED).model == "old tiny"


def test_a_hook_of_a_newer_core_may_be_marked_optional(site: Site, source: Callable[..., str]) -> None:
    text = source(tail="@hookimpl(optionalhook=True)\ndef export_model(loaded): ...")
    assert acme(site, text).name == "acme"
