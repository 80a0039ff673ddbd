"""Fixtures that all tests share: a tiny model, made once a session, and a site folder for made-up plugins."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.backends import registry
from aligntune_core.testing.tiny import make_tiny_model, make_tokenizer
from tests.site import Site, plugin

# Before anything imports torch: tiny models are slower with more threads, and no test reaches for a hub.
for _name, _value in (("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false"), ("HF_HUB_OFFLINE", "1")):
    os.environ.setdefault(_name, _value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where there is no CUDA device."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of about 100,000 parameters with a ChatML tokenizer, as a local folder."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def tiny_tokenizer() -> Any:
    """Its tokenizer, fresh for each test: data preparation may set a template on it."""
    return make_tokenizer()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site folder first on sys.path; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("ALIGNTUNE_DISABLE_BACKENDS", raising=False)
    monkeypatch.delenv("ALIGNTUNE_BACKENDS", raising=False)
    registry.refresh()
    yield Site(tmp_path)
    for name in [n for n in sys.modules if n.startswith("aligntune_fake_")]:
        del sys.modules[name]
    monkeypatch.undo()
    registry.refresh()


@pytest.fixture
def source() -> Callable[..., str]:
    """``plugin``, for tests."""
    return plugin
