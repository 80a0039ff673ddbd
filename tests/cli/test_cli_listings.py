"""``backends``, ``algorithms`` and ``config schema``: what programs and people read."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from aligntune_core.algorithms import known
from aligntune_core.backends.registry import registry
from tests.site import Site

Command = Callable[..., Result]


def test_backends_as_json_is_a_list_of_objects_with_name_and_state(command: Command) -> None:
    result = command("backends", "--json")
    assert result.exit_code == 0
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["trl"]["state"] == "ready"
    assert rows["trl"]["distribution"] == "aligntune-trl"
    assert rows["trl"]["algorithms"]["sft"] == {"ok": True, "reason": ""}


def test_a_broken_backend_is_a_row_and_the_others_stay(command: Command, broken_backend: str) -> None:
    result = command("backends")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.strip().startswith(broken_backend))
    assert "broken" in line
    assert any("trl" in line and "ready" in line for line in result.stdout.splitlines())
    assert "Traceback" not in result.stdout
    rows = {row["name"]: row for row in json.loads(command("backends", "--json").stdout)}
    assert rows[broken_backend]["state"] == "broken"
    assert "a_library_that_nobody_has" in rows[broken_backend]["reason"]


def test_what_a_plugin_prints_leaves_json_alone(
    command: Command, site: Site, source: Callable[..., str]
) -> None:
    site.backend("loud", "print('HELLO')\n" + source())
    for words in (("backends",), ("algorithms",)):
        result = command(*words, "--json")
        assert "HELLO" not in result.stdout
        json.loads(result.stdout)


def test_a_backend_that_honours_no_such_path_is_broken(
    command: Command, site: Site, source: Callable[..., str]
) -> None:
    info = "return BackendInfo(summary='x', devices=('cpu',), honours=frozenset({'optim.learning_rat'}))"
    site.backend("honest", source(backend_info=f"@hookimpl\ndef backend_info(): {info}"))
    row = next(r for r in json.loads(command("backends", "--json").stdout) if r["name"] == "honest")
    assert row["state"] == "broken"
    assert 'no config path "optim.learning_rat". Did you mean "optim.learning_rate"?' in row["reason"]


def test_a_backend_that_fails_when_asked_says_so_in_its_row(
    command: Command, site: Site, source: Callable[..., str]
) -> None:
    site.backend(
        "shy", source(supports_algorithm="@hookimpl\ndef supports_algorithm(algorithm): return 'yes'")
    )
    text = " ".join(command("backends").stdout.split())
    assert "supports_algorithm failed: HookError" in text


def test_verbose_shows_path_and_traceback(command: Command, broken_backend: str) -> None:
    text = command("backends", "-v").stdout
    assert "fake-acme 3.1" in text
    assert "import a_library_that_nobody_has" in text
    assert "requires: " in text


def test_conflicts_of_a_strangers_reward_are_told(command: Command, site: Site) -> None:
    site.install("fake-extras", {"aligntune.rewards": {"length": "nowhere:length"}})
    lines = command("backends", "-v").stdout.splitlines()
    at = lines.index("aligntune.rewards length: conflict")
    assert lines[at + 1] == "  reason: that name belongs to aligntune itself"
    found = json.loads(command("backends", "-v", "--json").stdout)
    [row] = [row for row in found["others"] if row["name"] == "length"]
    assert (row["state"], row["distribution"], row["value"]) == ("conflict", "fake-extras", "nowhere:length")
    assert found["backends"] == json.loads(command("backends", "--json").stdout)


def test_without_any_backend_the_listing_says_how_to_get_one(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aligntune_core.backends.registry import Registry

    monkeypatch.setattr(Registry, "names", lambda self: [])
    result = command("backends")
    assert result.exit_code == 0
    assert "pip install -e . -e plugins/aligntune-trl" in result.stdout


def test_algorithms_are_what_the_registry_says(command: Command) -> None:
    found = {row["name"]: row for row in json.loads(command("algorithms", "--json").stdout)}
    assert list(found) == list(known())
    for name, backend in registry().ready().items():
        assert {a: row["backends"][name]["ok"] for a, row in found.items()} == {
            a: bool(backend.supports(a)) for a in known()
        }
    text = command("algorithms").stdout
    assert all(name in text for name in found)


def test_schema_of_one_field_and_of_everything(command: Command) -> None:
    field = command("config", "schema", "--field", "learning_rate")
    assert field.exit_code == 0
    assert "learning_rate" in field.stdout
    whole = json.loads(command("config", "schema").stdout)
    assert whole["additionalProperties"] is False
    assert "optim" in whole["properties"]


def test_schema_of_an_unknown_field_says_the_nearest(command: Command) -> None:
    result = command("config", "schema", "--field", "lerning_rate")
    assert result.exit_code == 2
    assert "learning_rate" in result.output
    assert "Traceback" not in result.output
