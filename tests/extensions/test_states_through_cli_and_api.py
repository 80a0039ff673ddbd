"""Every state of a backend, once: what the listing shows, what naming it raises, what the command line says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from aligntune import create_sft_trainer
from aligntune.cli.app import app
from aligntune_core import errors
from aligntune_core.backends.registry import registry
from aligntune_core.version import __version__

if TYPE_CHECKING:
    from tests.site import Site

Arrange = Callable[["Site", pytest.MonkeyPatch], object]


def _twice(site: Site, patch: pytest.MonkeyPatch) -> None:
    site.backend("acme")
    site.install("other-acme", {"aligntune.backends": {"acme": "other_acme"}}, version="2.0")


def _switched_off(site: Site, patch: pytest.MonkeyPatch) -> None:
    site.backend("acme", "raise SystemExit")
    patch.setenv("ALIGNTUNE_DISABLE_BACKENDS", "acme")


# state -> (what makes it so, the row's reason, what naming it raises, its message, the exit code)
STATES: dict[str, tuple[Arrange, str, type[Exception], str, int]] = {
    "ready": (
        lambda site, patch: site.backend("acme"),
        "",
        errors.NotHonoured,
        'backend "acme" does not honour batch_size (optim.batch_size); ',
        2,
    ),
    "missing": (
        lambda site, patch: site.backend("acme", requires=["aligntune>=1,<2", "no-such-library>=3"]),
        "needs no-such-library>=3 (is not installed)",
        errors.BackendUnavailable,
        'backend "acme" (fake-acme 1.0) is missing: needs no-such-library>=3 (is not installed). '
        'To mend it: pip install "no-such-library>=3"',
        3,
    ),
    "broken": (
        lambda site, patch: site.backend("acme", "import no_such_library"),
        "raised ModuleNotFoundError: No module named 'no_such_library'",
        errors.BackendBroken,
        "raised ModuleNotFoundError: No module named 'no_such_library'.",
        3,
    ),
    "incompatible": (
        lambda site, patch: site.backend("acme", "raise SystemExit", requires=["aligntune>=7,<8"]),
        f"fake-acme 1.0 was built for aligntune <8,>=7; this is aligntune {__version__}",
        errors.BackendBroken,
        f"fake-acme 1.0 was built for aligntune <8,>=7; this is aligntune {__version__}. To mend it: install a "
        f"release of fake-acme for aligntune {__version__}, or the aligntune it wants",
        3,
    ),
    "conflict": (
        _twice,
        "claimed by fake-acme 1.0 and other-acme 2.0",
        errors.BackendConflict,
        'backend "acme" is claimed by fake-acme 1.0 and other-acme 2.0. Uninstall one: pip uninstall other-acme',
        3,
    ),
    "disabled": (
        _switched_off,
        "disabled by ALIGNTUNE_DISABLE_BACKENDS",
        errors.BackendUnavailable,
        'backend "acme" (fake-acme 1.0) is disabled by ALIGNTUNE_DISABLE_BACKENDS. '
        "To mend it: take it out of ALIGNTUNE_DISABLE_BACKENDS",
        3,
    ),
    "unknown": (
        lambda site, patch: site.backend("acme-pro"),
        "not installed",
        errors.BackendNotFound,
        'no backend "acme" is installed. Did you mean "acme-pro"? Installed: acme-pro',
        3,
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_state(state: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrange, reason, error, message, exit_code = STATES[state]
    arrange(site, monkeypatch)

    # the API
    row = registry().row("acme")
    assert (row.state, row.reason.endswith(reason)) == (state, True), row.reason
    with pytest.raises(error) as caught:
        create_sft_trainer("m", [{"prompt": "p", "completion": "c"}], backend="acme", batch_size=3)
    assert message in str(caught.value)

    # the listing
    listed: list[dict[str, Any]] = json.loads(CliRunner().invoke(app, ["backends", "--json"]).stdout)
    rows = {entry["name"]: entry for entry in listed}
    if state == "unknown":
        assert "acme" not in rows
    else:
        assert (rows["acme"]["state"], rows["acme"]["reason"]) == (state, row.reason)
    shown = CliRunner().invoke(app, ["backends"], env={"COLUMNS": "400"})
    assert shown.exit_code == 0
    line = next((text for text in shown.stdout.splitlines() if text.split()[:1] == ["acme"]), "")
    assert line.split()[1:2] == ([] if state == "unknown" else [state])
    assert row.reason in line or state == "unknown"

    # a command that names it
    config = tmp_path / "run.yaml"
    config.write_text(
        "algorithm: sft\nmodel_name: m\ndataset_name: rows.jsonl\nbackend: acme\nbatch_size: 3\n"
    )
    ran = CliRunner().invoke(app, ["plan", str(config)])
    assert ran.exit_code == exit_code
    assert message in ran.output
    assert "Traceback" not in ran.output
