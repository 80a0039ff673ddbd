"""One way to prepare rows in these tests: through the configuration of a call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.algorithms import find
from aligntune_core.config import resolve_config
from aligntune_core.config.resolve.resolution import resolve
from aligntune_core.data import prepare_datasets
from aligntune_core.testing.tiny import make_tokenizer
from aligntune_core.types import Datasets, Device

Prepare = Callable[..., Datasets]


@pytest.fixture(scope="session")
def chat_tokenizer() -> Any:
    """A tokenizer with a ChatML template; never changed by preparation."""
    return make_tokenizer()


@pytest.fixture
def base_tokenizer() -> Any:
    """A tokenizer without a chat template, fresh: preparation sets one on it."""
    return make_tokenizer(None)


def config_for(source: Any, algorithm: str = "sft", **keywords: Any) -> Any:
    """The configuration of a call on these rows."""
    kind = "sft" if algorithm == "sft" else "rl"
    extra: dict[str, Any] = {} if algorithm == "sft" else {"algorithm": algorithm}
    if algorithm in ("grpo", "ppo"):
        extra["reward_functions"] = ["length"]
    config = resolve_config(kind, model_name="unused", dataset_name=source, **extra, **keywords)
    return resolve(config, Device(kind="cpu"))


@pytest.fixture
def configured() -> Callable[..., Any]:
    """``configured(rows, algorithm="sft", **keywords)``: a resolved configuration."""
    return config_for


@pytest.fixture
def prepare(chat_tokenizer: Any) -> Prepare:
    """``prepare(rows, algorithm="sft", tokenizer=None, **keywords)``."""

    def run(source: Any, algorithm: str = "sft", tokenizer: Any = None, **keywords: Any) -> Datasets:
        config = config_for(source, algorithm, **keywords)
        return prepare_datasets(config, find(algorithm), tokenizer or chat_tokenizer)

    return run


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    """JSON lines; a ``str`` is written as it is, ``bytes`` too."""
    with path.open("wb") as stream:
        for row in rows:
            data = (
                row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode()
            )
            stream.write(data + b"\n")
    return path


@pytest.fixture
def lines() -> Callable[[Path, Iterable[Any]], Path]:
    """Writes JSON lines to a path."""
    return write_lines


@pytest.fixture
def pairs() -> Callable[[int], list[dict[str, str]]]:
    """``pairs(n)``: n different prompt/completion rows."""
    return lambda count: [{"prompt": f"say {i}", "completion": f"word {i}"} for i in range(count)]
