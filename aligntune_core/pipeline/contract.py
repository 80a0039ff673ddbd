"""Compare what a library would do, or does, with the configuration: a difference raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aligntune_core.config import changed, covers, paths, table
from aligntune_core.config.keywords import named
from aligntune_core.errors import ContractViolation
from aligntune_core.wording import listed

if TYPE_CHECKING:
    from aligntune_core.backends.backend import Backend
    from aligntune_core.config import Config


def refuse_differences(backend: str, stage: str, config: Config, arguments: Mapping[str, Any]) -> None:
    """Refuse a library's values (config path -> value) that differ from the configuration.

    ``stage`` says in the message what they are: "planned".

    Raises:
        ContractViolation: names each field with both values.
    """
    values = paths(config)
    problems = [
        f"{named(path)}: asked for {values[path]!r}, {stage} {arguments[path]!r}"
        for path in table.compare(values, arguments)
    ]
    if problems:
        raise ContractViolation(
            f'backend "{backend}" would not run what was asked for:\n  - ' + "\n  - ".join(problems) + "\n"
            "Set these fields to what the backend can do, or use another backend."
        )


def require_echo(backend: Backend, config: Config, returned: set[str]) -> None:
    """Refuse a backend that claims to honour a field which is set, but whose library did not return it.

    Raises:
        ContractViolation: names each such field.
    """
    paths_set = sorted(changed(config, owner="backend"))
    lost = [p for p in paths_set if covers(backend.info.honours, p) and not covers(returned, p)]
    if lost:
        raise ContractViolation(
            f'backend "{backend.name}" says that it honours {listed(named(p) for p in lost)}, but neither its '
            f"planned nor its effective arguments hold {listed(lost)}. This is a fault of the plugin"
            + (f" ({backend.info.url})." if backend.info.url else ".")
        )
