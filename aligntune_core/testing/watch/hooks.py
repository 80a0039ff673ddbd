"""A plugin's own function for a hook, without pluggy: it works for plugins that the registry would refuse."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from aligntune_core.algorithms import known
from aligntune_core.hookspecs import PROJECT
from aligntune_core.testing.fixtures.changes import plain_call


def implementation(module: ModuleType, hook: str) -> Callable[..., Any] | None:
    """The function marked for ``hook``, else one that merely has its name, else None."""
    for name, value in vars(module).items():
        options = getattr(value, f"{PROJECT}_impl", None)
        if isinstance(options, dict) and (options.get("specname") or name) == hook:
            return value  # type: ignore[no-any-return]
    function = getattr(module, hook, None)
    return function if callable(function) else None


def answer_of(function: Callable[..., Any], **arguments: Any) -> Any:
    """What a hook's function answers; it is called with those of the arguments that it takes, as pluggy does."""
    taken = inspect.signature(function).parameters
    return function(**{name: value for name, value in arguments.items() if name in taken})


def call_light(module: ModuleType) -> None:
    """Call the hooks that have to be light, as far as the module has them, for every known algorithm."""
    if (info := implementation(module, "backend_info")) is not None:
        info()
    supports, problems = implementation(module, "supports_algorithm"), implementation(module, "problems")
    if supports is not None:
        for algorithm in filter(supports, known()):
            if problems is not None:
                answer_of(problems, config=plain_call(algorithm))
