"""The static tier: what can be told without the library, in seconds. Nothing here imports torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from aligntune_core.algorithms import known
from aligntune_core.backends import registry, requirements, validation
from aligntune_core.entrypoints import EntryPoint
from aligntune_core.model.device import KINDS
from aligntune_core.testing.blocker import run_blocked
from aligntune_core.testing.fixtures import changes
from aligntune_core.testing.process.waiting import FAILURES
from aligntune_core.testing.tiers.base import Kit, optional
from aligntune_core.testing.watch.hooks import answer_of, call_light, implementation
from aligntune_core.types import BackendInfo, Support
from aligntune_core.version import __version__
from aligntune_core.wording import listed

CHOICES = {
    "devices": ("cpu", *(kind.name for kind in KINDS)),
    "quantizations": ("4bit", "8bit"),
    "strategies": ("single", "ddp", "fsdp2", "deepspeed"),
    "generators": ("transformers", "vllm"),
}
UNKNOWN = "an_algorithm_that_nobody_has"

# Runs where heavy libraries cannot be imported; after each stage it tells what was tried, and what was raised.
PROBE = """
import importlib, json, sys
from aligntune_core.testing.watch.hooks import call_light
attempts = sys.meta_path[0].attempts

def stage(name, act):
    error, before = "", len(attempts)
    try:
        act()
    except BaseException as raised:
        error = f"{{type(raised).__name__}}: {{raised}}"
    print("\\n" + {mark!r} + json.dumps([name, attempts[before:], error]), flush=True)

stage("import", lambda: importlib.import_module({module!r}))
if {module!r} in sys.modules:
    stage("hooks", lambda: call_light(sys.modules[{module!r}]))
"""
MARK = "aligntune probe: "


class Probed(NamedTuple):
    """What happened in one stage of the probe."""

    heavy: Sequence[str] = ()  # heavy imports that were tried: "MODULE imports NAME (FILE:LINE)"
    raised: str = ""  # "TypeOfError: message"; empty where nothing was


@lru_cache(maxsize=8)
def probed(module: str, path: tuple[str, ...]) -> Mapping[str, Probed]:
    """Run ``PROBE`` in a process of its own: "import" and "hooks" -> what happened."""
    code = f"import sys; sys.path[:] = {list(path)!r}\n" + PROBE.format(module=module, mark=MARK)
    done = run_blocked(code)
    stages = [json.loads(x.removeprefix(MARK)) for x in done.stdout.splitlines() if x.startswith(MARK)]
    outcomes = {name: Probed(heavy, raised) for name, heavy, raised in stages}
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    ended = Probed(raised=f"the process ended (exit {done.returncode}): {last}")
    outcomes.setdefault("import", ended)
    outcomes.setdefault("hooks", Probed() if outcomes["import"].raised else ended)
    return outcomes


class StaticTier(Kit):
    """Metadata, the light module, and the two light hooks."""

    @pytest.fixture
    def probe(self, entry: EntryPoint) -> Mapping[str, Probed]:
        """What happened in a process without heavy libraries: "import" and "hooks"."""
        return probed(entry.value.partition(":")[0].strip(), tuple(sys.path))

    def test_static_entry_point_is_unique(self, name: str, entries: list[EntryPoint]) -> None:
        """Exactly one distribution brings the name."""
        owners = listed(str(entry.distribution) for entry in entries)
        assert entries, f'no installed distribution has an entry point "{name}" in {registry.GROUP}'
        assert len(entries) == 1, f'"{name}" is brought by {owners}; one distribution has to bring it'

    def test_static_core_version_is_admitted(self, entry: EntryPoint) -> None:
        """The distribution's own metadata admits the core that is installed."""
        mismatch = requirements.core_mismatch(entry.distribution)
        assert mismatch is None, (
            f"its metadata asks for aligntune {mismatch}; this is aligntune {__version__}"
        )

    @optional
    def test_optional_static_core_version_has_both_bounds(self, entry: EntryPoint) -> None:
        """The metadata says which core the plugin was built for, and where that ends: aligntune>=1,<2."""
        ours = [r for r in entry.distribution.requires if r.startswith("aligntune")]
        core = [r for r in ours if r.removeprefix("aligntune")[:1] in "<>=!~ (;"]
        assert any("<" in r and ">" in r for r in core), 'depend on "aligntune>=1,<2"'

    def test_static_import_is_light(self, probe: Mapping[str, Probed], entry: EntryPoint) -> None:
        """Importing the plugin's module works, and imports no torch, transformers and the like."""
        seen = probe["import"]
        assert not seen.heavy, f"{seen.heavy[0]}. Import heavy libraries inside the hooks that need them"
        assert not seen.raised, f"importing {entry.value} raised {seen.raised}"
        try:
            entry.load()
        except FAILURES as error:
            pytest.fail(f"loading {entry.value} raised {type(error).__name__}: {error}", pytrace=False)

    def test_static_light_hooks_are_light(self, probe: Mapping[str, Probed], module: ModuleType) -> None:
        """``backend_info``, ``supports_algorithm`` and ``problems`` import nothing heavy either, and raise nothing."""
        seen = probe["hooks"]
        assert not seen.heavy, (
            f"{seen.heavy[0]}. Only prepare and the hooks after it may import heavy libraries"
        )
        assert not seen.raised, f"backend_info, supports_algorithm or problems raised {seen.raised}"
        call_light(module)

    def test_static_hooks_are_complete(self, loaded: Any) -> None:
        """The entry point names a module; the hooks are there, marked, and take arguments that exist."""
        assert validation.problems(loaded) == []

    def test_static_info_is_sound(self, answer: Any) -> None:
        """``backend_info`` returns a one-line summary, and devices, weight formats and strategies that there are."""
        assert validation.info_problems(answer) == []
        assert answer.summary.strip(), "summary is empty"
        assert "\n" not in answer.summary, "summary has more than one line"
        assert answer.devices, "devices is empty: name those it trains on"
        assert answer.strategies, 'strategies is empty: one process is "single"'
        for name, choices in CHOICES.items():
            assert set(getattr(answer, name)) <= set(choices), f"{name} may be {listed(choices)}"

    def test_static_info_is_pure(self, module: ModuleType, answer: Any) -> None:
        """``backend_info`` answers the same each time."""
        assert answer == self.hook(module, "backend_info")()

    def test_static_honours_are_real_paths(self, info: BackendInfo) -> None:
        """Every honoured path is a field of the configuration."""
        assert validation.check_honours(info) == []

    def test_static_options_have_defaults(self, info: BackendInfo) -> None:
        """A call without ``backend_options`` is possible: every option has a valid default."""
        if info.options is None:
            pytest.skip("declares no options (backend_info: options=None)")
        lacking = [name for name, field in info.options.model_fields.items() if field.is_required()]
        assert not lacking, f"options without a default: {listed(lacking)}"
        info.options()

    @pytest.fixture
    def supports(self, module: ModuleType) -> Callable[[str], Any]:
        """``supports_algorithm``, which answers for the known algorithms."""
        function = self.hook(module, "supports_algorithm")
        with self.waits.on("test_static_light_hooks_are_light"):
            for name in known():
                function(name)
        return function

    def test_static_known_algorithms_are_answered(self, supports: Callable[[str], Any]) -> None:
        """``supports_algorithm`` answers for every known algorithm with a bool or ``Support``, and trains one."""
        answers = {name: supports(name) for name in known()}
        wrong = {name: answer for name, answer in answers.items() if not isinstance(answer, (bool, Support))}
        assert not wrong, f"answers that are neither a bool nor a Support: {wrong}"
        assert answers == {name: supports(name) for name in known()}, "it answers differently each time"
        assert any(answers.values()), "it trains none of the known algorithms"

    def test_static_unknown_algorithm_is_declined(self, supports: Callable[[str], Any]) -> None:
        """``supports_algorithm`` says no to a name that it cannot know."""
        answer = supports(UNKNOWN)
        assert not answer, f'it says that it trains "{UNKNOWN}"; list what you train and decline the rest'

    def test_static_problems_name_the_setting(
        self, module: ModuleType, info: BackendInfo, supports: Callable[[str], Any]
    ) -> None:
        """``problems`` returns sentences, each with the keyword that was set; of a plain call there are none."""
        function = implementation(module, "problems")
        if function is None:
            pytest.skip("declares no combination that it cannot run: it has no hook problems")
        settings = type(self).settings
        with self.waits.on("test_static_light_hooks_are_light"):
            for algorithm in (name for name in known() if supports(name)):
                problems = answer_of(function, config=changes.plain_call(algorithm, info.honours, **settings))
                assert not problems, f"problems of a plain call of {algorithm}: {problems}"
            for path, config in changes.changed_calls(info.honours, supports, settings):
                sentences = answer_of(function, config=config) or []
                assert isinstance(sentences, (list, tuple)), (
                    f"problems returned {sentences!r}, which is no list"
                )
                strange = [x for x in sentences if not (isinstance(x, str) and changes.named(path, x))]
                assert not strange, f"with {path} changed, what does not name it: {strange}"

    @optional
    def test_optional_static_refusals_say_why(self, supports: Callable[[str], Any]) -> None:
        """Where an algorithm is declined there is a reason, which users read in refusals."""
        silent = [n for n in known() if not (answer := supports(n)) and not getattr(answer, "reason", "")]
        assert not silent, f'return Support(False, "why") for {listed(silent)}'
