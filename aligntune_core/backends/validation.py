"""Check a plugin's module against the hook contract, once, when it is loaded.

pluggy itself reports neither missing hooks nor keyword-only arguments nor functions that lack the marker.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aligntune_core import hookspecs
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.types import BackendInfo

REQUIRED = ("backend_info", "supports_algorithm", "load_model", "apply_peft", "build_trainer")
_MARK = f"{hookspecs.PROJECT}_impl"


@lru_cache(maxsize=1)
def hook_arguments() -> dict[str, tuple[str, ...]]:
    """Hook name -> its argument names, read from the specifications, in their order."""
    return {
        name: tuple(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if hasattr(function, f"{hookspecs.PROJECT}_spec")
    }


def old_seam(module: ModuleType) -> str | None:
    """A sentence on what to change in a plugin that is written for the hooks of aligntune 1.0; None for another."""
    if not inspect.ismodule(module):
        return None
    changes = []
    build, info = vars(module).get("build_trainer"), vars(module).get("backend_info")
    if build is not None and _is_answer(build) and "prepared" not in inspect.signature(build).parameters:
        changes.append(
            "build_trainer has to take prepared: build_trainer(loaded, config, datasets, prepared, run). What "
            "Prepared(planned=...) held is a hook of its own, planned(config, prepared); an Engine has "
            "save(path, form), generate(prompts, sampling) and close()"
        )
    if _options(info) is not None and not _is_answer(info):
        changes.append(
            "backend_info is no wrapper: an extension returns a BackendInfo of what it adds, BackendInfo(honours=...)"
        )
    return _of_1_0("; ".join(changes)) if changes else None


def moved_import(error: BaseException) -> str | None:
    """A sentence on what to change in a plugin whose import failed on a module or name of core's; None for others."""
    package = hookspecs.__name__.partition(".")[0]
    if not isinstance(error, ImportError) or (error.name or "").partition(".")[0] != package:
        return None
    return _of_1_0(f"{error}. A plugin imports {package}, {package}.types and {package}.toolkit only")


def _of_1_0(change: str) -> str:
    return f"written for the hooks of aligntune 1.0: {change}. docs/plugins/from-1.0.md has every change"


def problems(module: ModuleType, required: Iterable[str] = REQUIRED) -> list[str]:
    """All that keeps ``module`` from being a plugin, a sentence each; an extension has no ``required`` hooks."""
    if not inspect.ismodule(module):
        return [f"the entry point must name a module whose top level holds the hooks, not {_kind(module)}"]
    routines = {name: value for name, value in vars(module).items() if inspect.isroutine(value)}
    faults = [problem for name, value in routines.items() for problem in function_problems(name, value)]
    answered = {_hook_of(name, value) for name, value in routines.items() if _is_answer(value)}
    unmarked = hook_arguments().keys() & {name for name, value in routines.items() if _options(value) is None}
    lacking = [name for name in required if name not in answered and name not in unmarked]
    if lacking:
        faults.append(f"missing hook {listed(lacking)}: a backend must implement {listed(REQUIRED)}")
    return faults


def _options(function: Any) -> dict[str, Any] | None:
    """The options that ``@hookimpl(...)`` stored on the function, or None."""
    mark = getattr(function, _MARK, None)
    return mark if isinstance(mark, dict) else None


def _hook_of(name: str, function: Any) -> str:
    return str((_options(function) or {}).get("specname") or name)


def _is_answer(function: Any) -> bool:
    """Whether a function answers its hook; a wrapper only adds to an answer."""
    options = _options(function)
    return options is not None and not options.get("wrapper") and not options.get("hookwrapper")


def function_problems(name: str, function: Any) -> Iterator[str]:
    """Yield a sentence for each fault of one function at the top level of a plugin's module."""
    hooks = hook_arguments()
    options = _options(function)
    if options is None:
        if name in hooks:
            yield f"function {name} is named like a hook but not marked: put @hookimpl above it"
        return
    hook = _hook_of(name, function)
    if hook in hooks:
        yield from _kind_problems(hook, function, options)
        yield from _argument_problems(hook, function)
    elif not options.get("optionalhook"):
        yield f'there is no hook "{hook}".{did_you_mean(hook, hooks)} Hooks: {listed(hooks)}'


def _kind_problems(hook: str, function: Any, options: dict[str, Any]) -> Iterator[str]:
    """Refuse a coroutine or a generator: core would take the object itself for the answer."""
    yields = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    wraps = options.get("wrapper") or options.get("hookwrapper")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield f"{hook}: is async and would never be awaited; make it a plain function"
    elif yields and not wraps:
        yield f"{hook}: yields; return the answer, or mark a wrapper with @hookimpl(wrapper=True)"
    elif wraps and not yields:
        yield f"{hook}: is marked as a wrapper and never yields; take wrapper=True away, or yield once"


def _argument_problems(hook: str, function: Any) -> Iterator[str]:
    allowed = hook_arguments()[hook]
    for name, parameter in inspect.signature(function).parameters.items():
        where = f"{hook}: argument {name}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):  # printed as *name or **name
            stars = str(parameter.replace(annotation=parameter.empty))
            yield f"{hook}: {stars} is not allowed; name the arguments wanted, of: {listed(allowed)}"
        elif parameter.kind is parameter.KEYWORD_ONLY:
            yield f"{where} is keyword-only and would never be passed; remove the * before it"
        elif name not in allowed:
            yield f"{where} does not exist.{did_you_mean(name, allowed)} It may take: {listed(allowed)}"
        elif parameter.default is not parameter.empty:
            yield f"{where} has a default and would never be passed; remove the default"


def info_problems(info: object) -> list[str]:
    """Sentences on the faults of a ``backend_info`` answer; ``check_honours`` checks the paths in ``honours``."""
    from aligntune_core.types import BackendInfo

    if not isinstance(info, BackendInfo):
        return [f"backend_info returned {_kind(info)}; it must return aligntune_core.BackendInfo"]
    faults = []
    if not isinstance(info.honours, (set, frozenset)) or not all(isinstance(p, str) for p in info.honours):
        faults.append(f"backend_info: honours must be a frozenset of config paths, not {_kind(info.honours)}")
    for name in ("devices", "opt_in_devices", "quantizations", "strategies", "generators", "forbids"):
        value = getattr(info, name)
        if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
            faults.append(f"backend_info: {name} must be a tuple of strings, not {value!r}")
    if isinstance(info.priority, bool) or not isinstance(info.priority, int):
        faults.append(f"backend_info: priority must be a whole number, not {info.priority!r}")
    if info.options is not None and not (
        isinstance(info.options, type) and hasattr(info.options, "model_fields")
    ):
        faults.append(
            f"backend_info: options must be a pydantic model class or None, not {_kind(info.options)}"
        )
    return faults


def check_honours(info: BackendInfo) -> list[str]:
    """Sentences on the faults of ``info.honours``: every path must be a field of the configuration tree.

    Paths below ``parameters.`` belong to algorithms and are let pass. A whole section ("optim") is refused:
    fields that core adds to it later would count as honoured by a plugin that has never seen them.
    """
    from aligntune_core.config.keywords import sections, tree

    faults = []
    for path in sorted(info.honours):
        if path in sections():
            faults.append(f'honours: "{path}" is a section; name its fields')
        elif path not in tree() and not path.startswith("parameters."):
            faults.append(f'honours: there is no config path "{path}".{did_you_mean(path, tree())}')
    return faults


def _kind(value: object) -> str:
    """'None', 'class Foo', 'function foo' or 'a str: ...' for messages."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, type) or inspect.isroutine(value):
        return f"{'class' if isinstance(value, type) else 'function'} {value.__name__}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
