"""Choose the backend of a configuration: the one that it names, or for "auto" the best that can run it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aligntune_core.algorithms import find
from aligntune_core.backends.registry import registry
from aligntune_core.errors import BackendUnavailable
from aligntune_core.model.device import available
from aligntune_core.pipeline import refusals
from aligntune_core.rewards import read_rewards
from aligntune_core.wording import listed, one_line

if TYPE_CHECKING:
    from aligntune_core.backends.backend import Backend
    from aligntune_core.config import Config

logger = logging.getLogger("aligntune")


def choose(config: Config) -> tuple[Backend, str]:
    """Choose the named backend, or for "auto" the best one that can run this, and say why.

    Raises:
        BackendError: the named backend cannot run this; or, for "auto", none can, with the reason of each.
        ConfigError: an algorithm that rewards score without any, or with one that is not known.
    """
    if config.backend != "auto":
        backend = registry().get(config.backend)
        refusals.refuse_unsupported(backend, config, registry().ready)
        reason = "named in the call"
    else:
        backend, reason = _choose_auto(config)
    if find(config.algorithm).scored_by == "rewards":
        read_rewards(config.rewards)  # imports no function and no model yet
    return backend, reason


def _choose_auto(config: Config) -> tuple[Backend, str]:
    ready = registry().ready()
    order = sorted(ready, key=lambda name: (-ready[name].info.priority, name))
    passed_over = [
        f"{row.name}: {row.state}" + (f", {row.reason}" if row.state in ("broken", "incompatible") else "")
        for row in registry().rows()
        if row.name not in ready
    ]
    devices = list(available())
    for name in order:
        why = _why_not(ready[name], config, devices)
        if why is None:
            reason = f"auto: {name} trains {config.algorithm} on {listed(devices)}"
            reason += f" (passed over: {'; '.join(passed_over)})" if passed_over else ""
            logger.info('backend "%s" chosen (%s)', name, reason)
            return registry().get(name), reason
        passed_over.append(f"{name}: {why}")
    raise BackendUnavailable(
        f"no backend can run this {config.algorithm} job:\n  - "
        + "\n  - ".join(passed_over or ["none is installed"])
        + "\n"
        "See `aligntune backends -v`."
    )


def _why_not(backend: Backend, config: Config, devices: list[str]) -> str | None:
    """Why "auto" does not take this backend; a plugin that fails when it is asked does not end the search."""
    try:
        return refusals.why_not(backend, config, devices)
    except Exception as error:  # a plugin may raise anything; shown with the others that were passed over
        return f"asking it raised {one_line(error)}"
