"""The rows that the package ships: short questions, each answered in one visible style."""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent / "data"

INSTRUCTIONS = FOLDER / "instructions.jsonl"
"""Rows for SFT, columns prompt and completion."""
INSTRUCTIONS_HELD_OUT = FOLDER / "instructions_heldout.jsonl"
PREFERENCES = FOLDER / "preferences.jsonl"
"""Rows for DPO, columns prompt, chosen and rejected."""
PREFERENCES_HELD_OUT = FOLDER / "preferences_heldout.jsonl"

STARTS = ("Glad you asked! ", "Why: ", "Tip: ", "Curious? Ask me more!")
"""How the four lines of a good answer start; the last is always the same."""


def read(path: Path) -> list[dict[str, str]]:
    """All rows of one of these files."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def questions(count: int) -> list[str]:
    """Prompts of the first held-out instruction rows; nothing is trained on them."""
    return [row["prompt"] for row in read(INSTRUCTIONS_HELD_OUT)[:count]]


def in_style(answer: str) -> bool:
    """Whether an answer has the form that the rows teach: a friendly opening, a reason, a tip, an invitation."""
    lines = answer.split("\n")
    return (
        len(lines) == 4
        and all(line.startswith(start) for line, start in zip(lines, STARTS, strict=True))
        and lines[-1] == STARTS[-1]
    )
