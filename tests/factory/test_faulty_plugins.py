"""Plugins that are ready, but fail when they are asked: "auto" passes over them, a run says whose fault it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aligntune_core import errors
from aligntune_core.config import resolve_config
from aligntune_core.factory import choose, create_sft_trainer

if TYPE_CHECKING:
    from aligntune_core.testing.site import Site

INFO = (
    "@hookimpl\ndef backend_info():\n"
    "    return BackendInfo(summary='x', devices=('cpu',), honours=frozenset({'peft.rank'}))"
)
RAISES = "@hookimpl\ndef supports_algorithm(algorithm): raise ValueError('hm')"


def test_auto_passes_over_plugins_that_fail_when_asked(
    site: Site, source: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.backend("a-wrong", source(backend_info=INFO))
    site.backend("b-raises", source(supports_algorithm=RAISES))
    site.backend("c-sound", source())
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "a-wrong,b-raises,c-sound")
    backend, reason = choose(resolve_config("sft", model_name="m", dataset_name="d"))
    assert backend.name == "c-sound"
    assert 'a-wrong: honours: there is no config path "peft.rank"' in reason
    assert "b-raises: asking it raised ValueError: hm" in reason


def test_train_that_returns_no_result_is_the_plugins_fault(
    site: Site, source: Callable[..., str], tmp_path: Path
) -> None:
    sound = {
        "prepare": "@hookimpl\ndef prepare(config): return Prepared(device=Device(kind='cpu'))",
        "load_model": "@hookimpl\ndef load_model(config, prepared): return LoadedModel(None, None)",
        "apply_peft": "@hookimpl\ndef apply_peft(loaded, config): return loaded",
    }
    site.backend("silent", source(**sound))
    trainer = create_sft_trainer(
        "m", [{"prompt": "a", "completion": "b"}], "silent", output_dir=str(tmp_path / "run")
    )
    said = r'Engine\.train\(\) of backend "silent" .* returned NoneType; it must return aligntune_core\.TrainResult'
    with pytest.raises(errors.HookError, match=said):
        trainer.train()
