"""What a worker gets of the environment: not what a library wrote to it, but what the user did, before or since."""

from __future__ import annotations

import pytest

from aligntune_core.launch import environment


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_changes", {})
    for name in ("ACME_NEW", "ACME_OLD"):
        monkeypatch.delenv(name, raising=False)


def test_what_a_library_writes_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_OLD", "mine")
    with environment.recorded_environment():
        monkeypatch.setenv("ACME_OLD", "the library's")
        monkeypatch.setenv("ACME_NEW", "the library's")
    with environment.recorded_environment():
        monkeypatch.setenv("ACME_OLD", "the library's second")
    assert environment.clean()["ACME_OLD"] == "mine"
    assert "ACME_NEW" not in environment.clean()


def test_what_the_user_sets_afterwards_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with environment.recorded_environment():
        monkeypatch.setenv("ACME_OLD", "the library's")
        monkeypatch.setenv("ACME_NEW", "the library's")
    monkeypatch.setenv("ACME_OLD", "mine")
    monkeypatch.delenv("ACME_NEW")
    assert environment.clean()["ACME_OLD"] == "mine"
    assert "ACME_NEW" not in environment.clean()
