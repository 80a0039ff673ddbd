"""Tables fit the terminal and lose nothing."""

from __future__ import annotations

import pytest

from aligntune.cli.output import print_table


def printed(capsys: pytest.CaptureFixture[str], width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    words = " ".join(f"word{n}" for n in range(20))
    print_table(
        ("name", "state", "about"), [("a-name-that-stays-whole", ("ready", "green"), words), ("b", "", "")]
    )
    return capsys.readouterr().out.splitlines()


def test_wide_enough_for_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(capsys, 300, monkeypatch)
    assert len(lines) == 5
    assert lines[2].endswith("word19")


def test_a_narrow_terminal_wraps_but_keeps_every_word_and_the_first_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(capsys, 60, monkeypatch)
    assert max(map(len, lines)) <= 60
    assert "a-name-that-stays-whole  ready" in lines[2]
    assert [w for line in lines for w in line.split() if w.startswith("word")] == [
        f"word{n}" for n in range(20)
    ]
