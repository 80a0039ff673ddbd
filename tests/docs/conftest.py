"""Markdown files as tests see them, and local stand-ins for the hub names that documentation uses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Block:
    """One fenced code block.

    Attributes:
        language: first word after the fence.
        name: second word: the file that the block is.
        text: its content.
        line: where it begins.
    """

    language: str
    name: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    """The fenced code blocks of a Markdown file."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2].strip(), found[3], text.count("\n", 0, found.start()) + 1)
        for found in re.finditer(r"^```(\w*)([^\n]*)\n(.*?)^```", text, re.M | re.S)
    ]


class Local:
    """Puts local files in the place of hub names, and few steps in the place of many."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        alpaca, gsm8k = folder / "alpaca.jsonl", folder / "gsm8k.jsonl"
        dialogues, labelled = folder / "hh.jsonl", folder / "kto.jsonl"
        alpaca.write_text("".join(json.dumps(self._instruction(n)) + "\n" for n in range(32)))
        gsm8k.write_text("".join(json.dumps(self._problem(n)) + "\n" for n in range(32)))
        dialogues.write_text("".join(json.dumps(self._dialogue(n)) + "\n" for n in range(32)))
        labelled.write_text("".join(json.dumps(self._labelled(n)) + "\n" for n in range(32)))
        self._names = {
            MODEL: str(model),
            "tatsu-lab/alpaca": str(alpaca),
            "Anthropic/hh-rlhf": str(dialogues),
            "openai/gsm8k": str(gsm8k),
            "trl-lib/kto-mix-14k": str(labelled),
        }

    @staticmethod
    def _instruction(n: int) -> dict[str, str]:
        """A row in the schema of tatsu-lab/alpaca."""
        question, extra, answer = (
            f"What comes after {n}?",
            "Say it shortly." if n % 2 else "",
            f"It is {n + 1}.",
        )
        return {
            "instruction": question,
            "input": extra,
            "output": answer,
            "text": f"{question} {extra} {answer}",
        }

    @staticmethod
    def _problem(n: int) -> dict[str, str]:
        """A row in the schema of openai/gsm8k."""
        return {
            "question": f"I had {n} and got {n + 1}. How many have I?",
            "answer": f"I add.\n#### {2 * n + 1}",
        }

    @staticmethod
    def _dialogue(n: int) -> dict[str, str]:
        """A row in the schema of Anthropic/hh-rlhf."""
        prompt = f"\n\nHuman: What comes after {n}?\n\nAssistant:"
        return {"chosen": f"{prompt} It is {n + 1}.", "rejected": f"{prompt} Nobody can know that, {n}."}

    @staticmethod
    def _labelled(n: int) -> dict[str, object]:
        """A row in the schema of trl-lib/kto-mix-14k."""
        prompt = {"role": "user", "content": f"What comes after {n}?"}
        answer = {"role": "assistant", "content": f"It is {n + 1}." if n % 3 else "Nobody can know that."}
        return {"prompt": [prompt], "completion": [answer], "label": n % 3 != 0}

    def of(self, text: str) -> str:
        """The text with local names; a hub name that has no stand-in fails the test."""
        for name, local in self._names.items():
            text = text.replace(name, local)
        unknown = re.search(r"(?:model_name|dataset_name)(?:=|: )\"?([\w-]+/[\w.-]+)\"?", text)
        assert unknown is None or unknown[1].startswith("runs/"), (
            f"{unknown and unknown[1]} has no local stand-in"
        )
        return text


@pytest.fixture
def blocks_of() -> Callable[[Path], list[Block]]:
    """``blocks``, for tests."""
    return blocks


@pytest.fixture
def local(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    """Local stand-ins, in an empty current directory."""
    (tmp_path / "data").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return Local(tmp_path / "data", tiny_model_dir)
