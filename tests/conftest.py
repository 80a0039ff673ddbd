"""Fixtures that all tests share: a tiny model and its tokenizer, made once a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aligntune_core.testing.tiny import make_tiny_model, make_tokenizer


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of about 100,000 parameters with a ChatML tokenizer, as a local folder."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def tiny_tokenizer() -> Any:
    """Its tokenizer, fresh for each test: data preparation may set a template on it."""
    return make_tokenizer()
