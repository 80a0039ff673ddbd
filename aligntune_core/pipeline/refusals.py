"""Refusals that need no heavy import, and the guard against modules that must not share a process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from aligntune_core.config.keywords import named
from aligntune_core.errors import (
    BackendInterference,
    BackendUnavailable,
    ConfigError,
    NotHonoured,
    UnsupportedAlgorithm,
)
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.backends.backend import Backend
    from aligntune_core.config import Config
    from aligntune_core.types import BackendInfo

logger = logging.getLogger("aligntune")

Ready = Callable[[], Mapping[str, "Backend"]]


# Libraries that a backend with ``import_first`` has to precede: it patches them at its own import.
PATCHED_LIBRARIES = ("transformers", "trl", "peft", "accelerate")


# Fields whose "no" a backend that lacks them fulfils.
ASK_NOTHING = frozenset({"run.save_strategy", "run.eval_strategy"})


def refuse_unsupported(backend: Backend, config: Config, others: Ready) -> None:
    """Step 3: algorithm, honoured fields and options, judged from light metadata.

    Args:
        backend: the backend that was chosen.
        config: the validated configuration.
        others: gives name -> ready Backend; asked only for the hint of a refusal, as it loads every plugin.

    Raises:
        UnsupportedAlgorithm, NotHonoured, ConfigError: see their messages.
    """
    support = backend.supports(config.algorithm)
    if not support:
        able = [n for n, b in others().items() if n != backend.name and _trains(b, config.algorithm)]
        raise UnsupportedAlgorithm(backend.name, config.algorithm, support.reason, able)
    refuse_unhonoured(backend, config, others)
    refuse_quantization(backend, config)
    check_options(backend, config)


def _trains(other: Backend, algorithm: str) -> bool:
    """For a hint only: a plugin that fails when it is asked is none to name."""
    try:
        return bool(other.supports(algorithm))
    except Exception as error:  # a plugin may raise anything, and this one was not asked for
        logger.debug("asking %s raised %r", other, error)
        return False


def refuse_unhonoured(backend: Backend, config: Config, others: Ready) -> None:
    """Every field that was set to something else than its default has to reach the library."""
    from aligntune_core.config import covers, given, paths

    problems = []
    for path in sorted(given(config, owner="backend")):
        if covers(backend.info.honours, path) or (path in ASK_NOTHING and paths(config)[path] == "no"):
            continue
        able = [n for n, b in others().items() if n != backend.name and covers(b.info.honours, path)]
        hint = f"backends that do: {listed(able)}" if able else "no other ready backend does either"
        problems.append(f'backend "{backend.name}" does not honour {named(path)}; {hint}')
    if problems:
        raise NotHonoured(problems)


def refuse_quantization(backend: Backend, config: Config) -> None:
    """A weight format that the backend does not declare."""
    wanted = config.model.quantization
    if wanted is None:
        return
    for bits, on in (("4bit", wanted.load_in_4bit), ("8bit", wanted.load_in_8bit)):
        if on and bits not in backend.info.quantizations:
            raise NotHonoured(
                f'backend "{backend.name}" does not train on {bits} weights (quantization); '
                f"it offers: {listed(backend.info.quantizations)}"
            )


def check_options(backend: Backend, config: Config) -> None:
    """Validate ``backend_options`` against the backend's own model."""
    from pydantic import ValidationError

    given_options = config.backend_options
    if not given_options:
        return
    model = backend.info.options
    if model is None:
        raise ConfigError(f'backend "{backend.name}" has no backend_options; got {listed(given_options)}')
    known = list(model.model_fields)
    unknown = [k for k in given_options if k not in known]
    if unknown:
        raise ConfigError(
            [
                f'backend_options.{k}: backend "{backend.name}" has no such option.{did_you_mean(k, known)} '
                f"Known: {listed(known)}."
                for k in unknown
            ]
        )
    try:
        model.model_validate(given_options)
    except ValidationError as error:
        raise ConfigError(
            [
                f"backend_options.{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}"
                for e in error.errors()
            ]
        ) from None


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
    started = _first_seen()
    early = [
        m for m in PATCHED_LIBRARIES if m in sys.modules and started[m] < started.get(first, sys.maxsize)
    ]
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


def _first_seen() -> dict[str, int]:
    """Top-level package -> when the first of its modules was loaded, as a rank.

    A package itself takes its place in ``sys.modules`` when its import ends, those that it imports come before it.
    """
    found: dict[str, int] = {}
    for rank, name in enumerate(list(sys.modules)):
        found.setdefault(name.partition(".")[0], rank)
    return found


def guard(backend: Backend) -> None:
    """Step 5.

    Raises:
        BackendInterference: see ``interference``.
    """
    if why := interference(backend.name, backend.info):
        raise BackendInterference(f'backend "{backend.name}": {why}.')


def refuse_device(name: str, info: BackendInfo, available: list[str]) -> str | None:
    """Why the devices of this machine are none that the backend trains on, or None."""
    if set(info.devices) & set(available):
        return None
    return f"it needs {' or '.join(info.devices)}; found: {listed(available)}"


def why_not(backend: Backend, config: Config, available: list[str]) -> str | None:
    """For ``backend="auto"``: why this backend is passed over, or None where it would do."""
    if why := refuse_device(backend.name, backend.info, available):
        return why
    if why := interference(backend.name, backend.info):
        return why.split(". ")[0]
    try:
        refuse_unsupported(backend, config, dict)
    except (ConfigError, BackendUnavailable) as error:
        return str(error)
    return None
