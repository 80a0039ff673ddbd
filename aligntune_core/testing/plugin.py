"""The kit's pytest plugin: options, and a summary that tells required tests from optional ones.

Use it with ``-p aligntune_core.testing.plugin``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest

from aligntune_core.backends.registry import registry
from aligntune_core.wording import did_you_mean, listed

if TYPE_CHECKING:
    from aligntune_core.testing.conformance import BackendConformance

Tier = Literal["static", "argument", "live"]
TIERS: tuple[Tier, ...] = ("static", "argument", "live")
NAME = re.compile(r"^test_(?P<optional>optional_)?(?P<tier>static|argument|live)_")

pytest.register_assert_rewrite("aligntune_core.testing.tiers")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aligntune", "aligntune's conformance kit")
    group.addoption("--aligntune-backend", metavar="NAME", help="the backend to test without any code")
    tiers = "static imports no torch, argument imports the library, live trains (default)"
    group.addoption(
        "--aligntune-tier", choices=TIERS, default=TIERS[-1], help=f"the last tier to run: {tiers}"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tiers after the one that was asked for.

    Raises:
        UsageError: tests without a backend, or with one that no installed distribution brings.
    """
    if any(kit is not None and not kit.backend for kit in map(class_of, items)):
        _check_name(config.getoption("--aligntune-backend"))
    last = TIERS.index(config.getoption("--aligntune-tier"))
    beyond = [item for item in items if (tier := tier_of(item)) and TIERS.index(tier) > last]
    if beyond:
        config.hook.pytest_deselected(items=beyond)
        items[:] = [item for item in items if item not in beyond]


def _check_name(name: str | None) -> None:
    if not name:
        raise pytest.UsageError("name the backend: --aligntune-backend NAME, or a class attribute")
    found = registry().names()
    if name not in found:
        guess = did_you_mean(name, found)
        raise pytest.UsageError(f'no installed backend is called "{name}".{guess} Installed: {listed(found)}')


def class_of(item: pytest.Item) -> type[BackendConformance] | None:
    """The class of a test of the kit; None for any other test."""
    from aligntune_core.testing.conformance import BackendConformance

    kit = item.cls if isinstance(item, pytest.Function) else None
    return kit if isinstance(kit, type) and issubclass(kit, BackendConformance) else None


def tier_of(item: pytest.Item) -> Tier | None:
    """The tier of a test of the kit; None for any other test."""
    found = NAME.match(item.name) if class_of(item) else None
    return found["tier"] if found else None  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for the required tests, one for the optional ones."""
    required: dict[str, int] = {}
    optional: dict[str, int] = {}
    for outcome in ("passed", "failed", "error", "skipped", "xfailed"):
        for report in terminalreporter.getreports(outcome):
            found = NAME.match(report.nodeid.rpartition("::")[2])
            if found and (outcome != "passed" or report.when == "call"):
                counts = optional if found["optional"] else required
                counts[outcome] = counts.get(outcome, 0) + 1
    if required or optional:
        terminalreporter.section("conformance")
        for name, counts in (("required", required), ("optional", optional)):
            line = ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "none run"
            terminalreporter.line(f"{name}: {line.replace('xfailed', 'not met')}")
