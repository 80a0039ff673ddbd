"""What the tiers share: which backend is tested, its module, and optional tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar

import pytest

from aligntune_core import registry
from aligntune_core.entrypoints import EntryPoint, entry_points
from aligntune_core.errors import BackendError
from aligntune_core.testing.hooks import implementation
from aligntune_core.testing.session import Session, session_of
from aligntune_core.types import BackendInfo


def optional(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test as advice: where it fails it is reported, and the run passes all the same."""

    @functools.wraps(test)
    def run(*args: Any, **keywords: Any) -> None:
        try:
            test(*args, **keywords)
        except AssertionError as error:
            pytest.xfail(f"optional: {error}")

    return run


class Kit:
    """Base of the tiers."""

    backend: ClassVar[str] = ""
    process: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def name(self, request: pytest.FixtureRequest) -> str:
        """The backend under test."""
        name = type(self).backend or request.config.getoption("--aligntune-backend", default=None)
        if not name:
            raise pytest.UsageError("name the backend: --aligntune-backend NAME, or a class attribute")
        return str(name)

    @pytest.fixture
    def entries(self, name: str) -> list[EntryPoint]:
        """The entry points of that name."""
        return [
            entry
            for entry in entry_points(registry.GROUP)
            if entry.name == name and entry.distribution.canonical not in registry.IGNORED
        ]

    @pytest.fixture
    def entry(self, name: str, entries: list[EntryPoint]) -> EntryPoint:
        """The entry point, the first where there are several."""
        if not entries:
            pytest.fail(f'no installed distribution has an entry point "{name}" in {registry.GROUP}')
        return entries[0]

    @pytest.fixture
    def module(self, name: str, entry: EntryPoint) -> ModuleType:
        """The plugin's light module."""
        module = entry.load()
        if not isinstance(module, ModuleType):
            pytest.fail(
                f'entry point "{name}" names {module!r}; it has to name the module that holds the hooks'
            )
        return module

    @pytest.fixture
    def info(self, module: ModuleType) -> BackendInfo:
        """What the backend says of itself."""
        return self.hook(module, "backend_info")()  # type: ignore[no-any-return]

    @pytest.fixture
    def session(self, name: str) -> Session:
        """The backend's worker process, and the answers that it has given."""
        try:
            return session_of(name, type(self).process or name, type(self).settings)
        except BackendError as error:
            pytest.fail(f"the registry does not load it, so nothing can be run: {error}", pytrace=False)

    def hook(self, module: ModuleType, name: str) -> Callable[..., Any]:
        """The plugin's own function for a hook."""
        found = implementation(module, name)
        if found is None:
            pytest.fail(f"{module.__name__} has no hook {name}")
        return found
