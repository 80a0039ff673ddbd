"""The static tier: what can be told without the library, in seconds. Nothing here imports torch."""

from __future__ import annotations

import sys
from functools import lru_cache
from types import ModuleType

import pytest

from aligntune_core import requirements, validation
from aligntune_core.algorithms import known
from aligntune_core.entrypoints import EntryPoint
from aligntune_core.errors import listed
from aligntune_core.testing.blocker import run_blocked
from aligntune_core.testing.tiers.base import Kit, optional
from aligntune_core.types import BackendInfo, Support
from aligntune_core.version import __version__

DEVICES = ("cpu", "cuda", "mps", "xpu", "npu")
QUANTIZATIONS = ("4bit", "8bit")
UNKNOWN = "an_algorithm_that_nobody_has"

# Runs where heavy libraries cannot be imported; what it prints last says how far it came.
PROBE = """
import importlib, sys
print("import", flush=True)
module = importlib.import_module({module!r})
from aligntune_core.algorithms import known
from aligntune_core.testing.hooks import implementation
print("hooks", flush=True)
info, supports = implementation(module, "backend_info"), implementation(module, "supports_algorithm")
if info is not None:
    info()
for algorithm in known() if supports is not None else ():
    supports(algorithm)
print("end", flush=True)
"""


@lru_cache(maxsize=8)
def probed(module: str, path: tuple[str, ...]) -> tuple[str, str]:
    """Run ``PROBE`` in a process of its own; see ``StaticTier.probe``."""
    done = run_blocked(f"import sys; sys.path[:] = {list(path)!r}\n" + PROBE.format(module=module))
    stages = [line for line in done.stdout.splitlines() if line in ("import", "hooks", "end")]
    lines = done.stderr.strip().splitlines()
    return (stages or ["import"])[-1], lines[-1] if lines else ""


class StaticTier(Kit):
    """Metadata, the light module, and the two light hooks."""

    @pytest.fixture
    def probe(self, entry: EntryPoint) -> tuple[str, str]:
        """How far the plugin came without heavy libraries ("end" is all the way), and what stopped it."""
        return probed(entry.value, tuple(sys.path))

    def test_static_entry_point_is_unique(self, name: str, entries: list[EntryPoint]) -> None:
        """Exactly one distribution brings the name."""
        owners = listed(str(entry.distribution) for entry in entries)
        assert len(entries) == 1, f'"{name}" is brought by {owners}; one distribution has to bring it'

    def test_static_core_version_is_admitted(self, entry: EntryPoint) -> None:
        """The distribution's own metadata admits the core that is installed."""
        wanted = requirements.core_mismatch(entry.distribution)
        assert wanted is None, f"its metadata asks for aligntune {wanted}; this is aligntune {__version__}"

    @optional
    def test_optional_static_core_version_has_both_bounds(self, entry: EntryPoint) -> None:
        """The metadata says which core the plugin was built for, and where that ends: aligntune>=1,<2."""
        found = [r for r in entry.distribution.requires if r.startswith("aligntune")]
        own = [r for r in found if r.removeprefix("aligntune")[:1] in "<>=!~ (;"]
        assert any("<" in r and ">" in r for r in own), 'depend on "aligntune>=1,<2"'

    def test_static_import_is_light(self, probe: tuple[str, str]) -> None:
        """Importing the plugin's module imports no torch, transformers and the like."""
        stage, error = probe
        assert stage != "import", f"{error}. Import heavy libraries inside the hooks that need them"

    def test_static_light_hooks_are_light(self, probe: tuple[str, str]) -> None:
        """``backend_info`` and ``supports_algorithm`` import nothing heavy either, and raise nothing."""
        stage, error = probe
        assert stage != "hooks", f"{error}. Only prepare and the hooks after it may import heavy libraries"

    def test_static_hooks_are_complete(self, module: ModuleType) -> None:
        """The hooks are there, marked, and take arguments that exist."""
        assert validation.problems(module) == []

    def test_static_info_is_sound(self, info: BackendInfo) -> None:
        """``backend_info`` returns what it should: a one-line summary, known devices and weight formats."""
        assert validation.info_problems(info) == []
        assert info.summary.strip(), "summary is empty"
        assert "\n" not in info.summary, "summary has more than one line"
        assert info.devices, "devices is empty: name those it trains on"
        assert set(info.devices) <= set(DEVICES), f"devices may be {listed(DEVICES)}"
        assert set(info.quantizations) <= set(QUANTIZATIONS), f"quantizations may be {listed(QUANTIZATIONS)}"

    def test_static_info_is_pure(self, module: ModuleType) -> None:
        """``backend_info`` answers the same each time."""
        assert self.hook(module, "backend_info")() == self.hook(module, "backend_info")()

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

    def test_static_known_algorithms_are_answered(self, module: ModuleType) -> None:
        """``supports_algorithm`` answers for every known algorithm with a bool or ``Support``, and trains one."""
        supports = self.hook(module, "supports_algorithm")
        answers = {name: supports(name) for name in known()}
        wrong = {name: answer for name, answer in answers.items() if not isinstance(answer, (bool, Support))}
        assert not wrong, f"answers that are neither a bool nor a Support: {wrong}"
        assert answers == {name: supports(name) for name in known()}, "it answers differently each time"
        assert any(answers.values()), "it trains none of the known algorithms"

    def test_static_unknown_algorithm_is_declined(self, module: ModuleType) -> None:
        """``supports_algorithm`` says no to a name that it cannot know."""
        answer = self.hook(module, "supports_algorithm")(UNKNOWN)
        assert not answer, f'it says that it trains "{UNKNOWN}"; list what you train and decline the rest'

    @optional
    def test_optional_static_refusals_say_why(self, module: ModuleType) -> None:
        """Where an algorithm is declined there is a reason, which users read in refusals."""
        supports = self.hook(module, "supports_algorithm")
        silent = [n for n in known() if not (answer := supports(n)) and not getattr(answer, "reason", "")]
        assert not silent, f'return Support(False, "why") for {listed(silent)}'
