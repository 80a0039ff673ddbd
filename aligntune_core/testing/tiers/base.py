"""What the tiers share: which backend is tested, its module, and optional tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar

import pytest

from aligntune_core.backends import registry, validation
from aligntune_core.entrypoints import EntryPoint, entry_points
from aligntune_core.testing.fixtures import changes
from aligntune_core.testing.process.live import Refused
from aligntune_core.testing.process.session import Session, session_of
from aligntune_core.testing.process.waiting import FAILURES, Waiting, said
from aligntune_core.testing.watch.hooks import implementation
from aligntune_core.types import BackendInfo


def optional(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test as advice: where it fails it is reported, and the run passes all the same."""

    @functools.wraps(test)
    def run(*args: Any, **keywords: Any) -> None:
        try:
            test(*args, **keywords)
        except FAILURES as error:
            pytest.xfail(f"optional: {said(error)}")

    return run


class Kit:
    """Base of the tiers."""

    waits: Waiting  # leaves to another test of the class what that one reports

    backend: ClassVar[str] = ""
    process: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _waits(self, request: pytest.FixtureRequest) -> None:
        self.waits = Waiting(request)

    @pytest.fixture
    def name(self, request: pytest.FixtureRequest) -> str:
        """The backend under test."""
        name = self.named(request.config)
        if not name:
            raise pytest.UsageError("name the backend: --aligntune-backend NAME, or a class attribute")
        return name

    def named(self, config: pytest.Config) -> str:
        """The backend that the class or the command line names; empty where neither does."""
        return str(type(self).backend or config.getoption("--aligntune-backend", default=None) or "")

    @pytest.fixture
    def entries(self, name: str) -> list[EntryPoint]:
        """The entry points of that name."""
        entries = (entry for entry in entry_points(registry.GROUP) if entry.name == name)
        return [entry for entry in entries if entry.distribution.canonical not in registry.IGNORED]

    @pytest.fixture
    def entry(self, name: str, entries: list[EntryPoint]) -> EntryPoint:
        """The entry point, the first where there are several."""
        with self.waits.on("test_static_entry_point_is_unique"):
            assert entries, f'no installed distribution has an entry point "{name}" in {registry.GROUP}'
        return entries[0]

    @pytest.fixture
    def loaded(self, entry: EntryPoint) -> Any:
        """What the entry point names; it should be the plugin's light module."""
        with self.waits.on("test_static_import_is_light"):
            return entry.load()

    @pytest.fixture
    def module(self, loaded: Any) -> ModuleType:
        """The plugin's light module."""
        with self.waits.on("test_static_hooks_are_complete"):
            assert isinstance(loaded, ModuleType), f"the entry point names {loaded!r}, which is no module"
        return loaded

    @pytest.fixture
    def answer(self, module: ModuleType) -> Any:
        """What ``backend_info`` returns."""
        function = self.hook(module, "backend_info")
        with self.waits.on("test_static_light_hooks_are_light"):
            return function()

    @pytest.fixture
    def info(self, answer: Any) -> BackendInfo:
        """What the backend says of itself, of the right types."""
        with self.waits.on("test_static_info_is_sound"):
            assert validation.info_problems(answer) == []
        return answer  # type: ignore[no-any-return]

    @pytest.fixture
    def session(self, name: str) -> Session:
        """The backend's worker process, and the answers that it has given."""
        with self.waits.on("test_argument_backend_is_ready"):
            return self.opened(name)

    def opened(self, name: str) -> Session:
        """The session; raises what the registry, or ``supports_algorithm``, does."""
        return session_of(name, type(self).process or name, type(self).settings)

    def hook(self, module: ModuleType, name: str) -> Callable[..., Any]:
        """The plugin's own function for a hook."""
        function = implementation(module, name)
        with self.waits.on("test_static_hooks_are_complete"):
            assert function is not None, f"{module.__name__} has no hook {name}"
            assert list(validation.function_problems(name, function)) == []
        return function


def field_problem(path: str, source: str, outcome: Callable[[], Mapping[str, Any]]) -> str:
    """What is wrong with the way a changed field arrives; ``effective`` has to tell of each that is left to it."""
    try:
        field = outcome()
    except Refused as refusal:
        if changes.named(path, str(refusal)):
            return ""
        return f"{path} was changed and refused, but the message does not name it: {refusal}"
    if field["outcome"] == "absent" and source == "effective":
        return f"{path} was changed, and neither planned nor effective tells what is in force"
    if field["outcome"] == "different":
        return f"{path}: set to {field['set']}, {source} says {field['value']}"
    return ""
