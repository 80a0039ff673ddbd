"""Refusals that need no heavy import, and the guard against modules that must not share a process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from aligntune_core.algorithms import find
from aligntune_core.config import changed, covers, paths
from aligntune_core.config.keywords import entry_of, named
from aligntune_core.errors import (
    BackendInterference,
    BackendUnavailable,
    ConfigError,
    NotHonoured,
    UnsupportedAlgorithm,
)
from aligntune_core.fields import extra_of
from aligntune_core.run.topology import world
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.backends.backend import Backend
    from aligntune_core.config import Config
    from aligntune_core.types import BackendInfo

logger = logging.getLogger("aligntune")

Ready = Callable[[], Mapping[str, "Backend"]]


# Libraries that a backend with ``import_first`` has to precede: it patches them at its own import.
PATCHED_LIBRARIES = ("transformers", "trl", "peft", "accelerate")


# Fields whose value "no" every backend fulfils, even one that does not honour the field.
ASK_NOTHING = frozenset({"run.save_strategy", "run.eval_strategy"})


def refuse_unsupported(backend: Backend, config: Config, others: Ready) -> None:
    """Refuse what light metadata already rules out: the algorithm, or every problem of the configuration at once.

    ``others`` gives name -> ready Backend; asked only for the hint of a refusal, as it loads every plugin.

    Raises:
        UnsupportedAlgorithm: the backend does not train it.
        NotHonoured: fields, weight formats, generators or processes that the backend does not declare; with every other
            problem of the call in ``problems``.
        ConfigError: options that it does not have, or combinations that it cannot run.
    """
    support = backend.supports(config.algorithm)
    if not support:
        able = _able(backend, others, lambda other: bool(other.supports(config.algorithm)))
        raise UnsupportedAlgorithm(backend.name, config.algorithm, support.reason, able)
    undeclared = [
        *unhonoured(backend, config, others),
        *_quantization_problems(backend, config),
        *_generator_problems(backend, config),
        *_strategy_problems(backend, others),
    ]
    problems = [*_option_problems(backend, config), *backend.problems(config)]
    if undeclared:
        raise NotHonoured([*undeclared, *problems])
    if problems:
        raise ConfigError(problems)


def _able(backend: Backend, others: Ready, does: Callable[[Backend], bool]) -> list[str]:
    """Names of other ready backends that would do, for a hint only; one that fails when it is asked is left out."""

    def answer(other: Backend) -> bool:
        try:
            return does(other)
        except Exception as error:  # a plugin may raise anything, and this one was not asked for
            logger.debug("asking %s raised %r", other, error)
            return False

    return [name for name, other in others().items() if name != backend.name and answer(other)]


def unhonoured(backend: Backend, config: Config, others: Ready) -> list[str]:
    """A sentence for each field that was set to something else than its default and would not reach the library."""
    problems = []
    needed = {path: path for path in changed(config, owner="backend")}
    needed |= {path: field for path in changed(config, owner="core") if (field := _through(path, config))}
    for path, field in sorted(needed.items()):
        if covers(backend.info.honours, field) or (path in ASK_NOTHING and paths(config)[path] == "no"):
            continue
        able = [n for n, other in others().items() if n != backend.name and covers(other.info.honours, field)]
        hint = f"backends that do: {listed(able)}" if able else "no other ready backend does either"
        problems.append(f'backend "{backend.name}" does not honour {named(path)}; {hint}')
    return problems


def _through(path: str, config: Config) -> str:
    """The field that core turns this one of its own into, for a backend to honour; empty for most."""
    entry = entry_of(path, find(config.algorithm))
    return str(extra_of(entry.info).get("through", "")) if entry else ""


def _quantization_problems(backend: Backend, config: Config) -> list[str]:
    """A weight format that the backend does not declare."""
    quantization = config.model.quantization
    if quantization is None:
        return []
    formats = {"4bit": quantization.load_in_4bit, "8bit": quantization.load_in_8bit}
    return [
        f'backend "{backend.name}" does not train on {bits} weights (quantization); '
        f"it offers: {listed(backend.info.quantizations)}"
        for bits, on in formats.items()
        if on and bits not in backend.info.quantizations
    ]


def _generator_problems(backend: Backend, config: Config) -> list[str]:
    """A generator of completions that the backend does not declare."""
    generator = getattr(config.parameters, "generation", None)
    if generator is None or generator in backend.info.generators:
        return []
    return [
        f'backend "{backend.name}" does not generate with {generator} (generation); '
        f"it offers: {listed(backend.info.generators)}"
    ]


def _strategy_problems(backend: Backend, others: Ready) -> list[str]:
    """Several processes on a backend that trains in one."""
    processes = world().world_size
    if processes == 1 or "ddp" in backend.info.strategies:
        return []
    able = _able(backend, others, lambda other: "ddp" in other.info.strategies)
    hint = f"; backends that train in several: {listed(able)}" if able else ""
    return [
        f'backend "{backend.name}" trains in one process, and this is one of {processes}: start one process{hint}'
    ]


def _option_problems(backend: Backend, config: Config) -> list[str]:
    """What the backend's own model finds wrong with ``backend_options``."""
    from pydantic import ValidationError

    options, model = config.backend_options, backend.info.options
    if not options:
        return []
    if model is None:
        return [f'backend "{backend.name}" has no backend_options; got {listed(options)}']
    names = list(model.model_fields)
    unknown = [name for name in options if name not in names]
    if unknown:
        return [
            f'backend_options.{name}: backend "{backend.name}" has no such option.{did_you_mean(name, names)} '
            f"Known: {listed(names)}."
            for name in unknown
        ]
    try:
        model.model_validate(options)
    except ValidationError as error:
        return [
            f"backend_options.{'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {problem['input']!r}"
            for problem in error.errors()
        ]
    return []


def interference(name: str, info: BackendInfo) -> str | None:
    """Why modules already in this process keep the backend from running as it should, or None."""
    present = [m for m in info.forbids if m in sys.modules]
    if present:
        return (
            f'{listed(present)} is loaded in this process and has changed the libraries that backend "{name}" runs on. '
            "Start a new process (in a notebook: restart the kernel) and use one backend in it, or give "
            'isolation="process": the backend then runs in a process of its own'
        )
    first = info.import_first
    if first is None:
        return None
    ranks = _load_ranks()
    early = [m for m in PATCHED_LIBRARIES if m in sys.modules and ranks[m] < ranks.get(first, sys.maxsize)]
    if early:
        were = "was" if len(early) == 1 else "were"
        return (
            f"{listed(early)} {were} imported before {first}, which must come first. Restart the process and, above "
            f"every import of {early[0]}, write:\n"
            "    from aligntune.core.backend_factory import create_sft_trainer\n"
            f"    import {first}\n"
            'or leave this process as it is and give isolation="process"'
        )
    return None


def _load_ranks() -> dict[str, int]:
    """Top-level package -> when the first of its modules was loaded, as a rank.

    A package takes its place in ``sys.modules`` when its import ends, after the modules that it imports.
    """
    ranks: dict[str, int] = {}
    for rank, name in enumerate(list(sys.modules)):
        ranks.setdefault(name.partition(".")[0], rank)
    return ranks


def guard(backend: Backend) -> None:
    """Refuse to go on in a process where the backend cannot run as it should.

    Raises:
        BackendInterference: see ``interference``.
    """
    if why := interference(backend.name, backend.info):
        raise BackendInterference(f'backend "{backend.name}": {why}.')


def why_not(backend: Backend, config: Config, available: list[str]) -> str | None:
    """For ``backend="auto"``: why this backend is passed over, or None where it would do."""
    if not set(backend.info.devices) & set(available):
        return f"it needs {' or '.join(backend.info.devices)}; found: {listed(available)}"
    if why := interference(backend.name, backend.info):
        return why.split(". ")[0]
    try:
        refuse_unsupported(backend, config, dict)
    except ConfigError as error:
        return "; ".join(error.problems)
    except BackendUnavailable as error:
        return str(error)
    return None
