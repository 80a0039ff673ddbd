"""Plugins that are ready, but fail when they are asked: "auto" passes over them, a run says whose fault it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aligntune_core import errors
from aligntune_core.config import resolve_config
from aligntune_core.create import create_sft_trainer
from aligntune_core.pipeline.choose import choose

if TYPE_CHECKING:
    from tests.site import Site

INFO = (
    "@hookimpl\ndef backend_info():\n"
    "    return BackendInfo(summary='x', devices=('cpu',), honours=frozenset({'peft.rank'}))"
)
RAISES = "@hookimpl\ndef supports_algorithm(algorithm): raise ValueError('hm')"
SOUND = {
    "prepare": "@hookimpl\ndef prepare(config): return Prepared(device=Device(kind='cpu'))",
    "load_model": "@hookimpl\ndef load_model(config, prepared): return LoadedModel(None, None)",
    "apply_peft": "@hookimpl\ndef apply_peft(loaded, config): return loaded",
}


def test_auto_passes_over_plugins_that_fail_when_asked(
    site: Site, source: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.backend("a-wrong", source(backend_info=INFO))
    site.backend("b-raises", source(supports_algorithm=RAISES))
    site.backend("c-sound", source())
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "a-wrong,b-raises,c-sound")
    backend, reason = choose(resolve_config("sft", model_name="m", dataset_name="d"))
    assert backend.name == "c-sound"
    assert 'a-wrong: broken, honours: there is no config path "peft.rank"' in reason
    assert "b-raises: asking it raised ValueError: hm" in reason


def test_train_that_returns_no_result_is_the_plugins_fault(
    site: Site, source: Callable[..., str], tmp_path: Path
) -> None:
    site.backend("silent", source(**SOUND))
    trainer = create_sft_trainer(
        "m", [{"prompt": "a", "completion": "b"}], "silent", output_dir=str(tmp_path / "run")
    )
    said = r'Engine\.train\(\) of backend "silent" .* returned NoneType; it must return aligntune_core\.TrainResult'
    with pytest.raises(errors.HookError, match=said):
        trainer.train()


def test_a_refusal_outlives_a_plugin_that_fails_when_asked(
    site: Site, source: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.backend(
        "a-no", source(supports_algorithm="@hookimpl\ndef supports_algorithm(algorithm): return False")
    )
    site.backend("b-raises", source(supports_algorithm=RAISES))
    site.backend("c-sound", source())
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "a-no,b-raises,c-sound")
    with pytest.raises(errors.UnsupportedAlgorithm, match="Backends that do: c-sound"):
        choose(resolve_config("sft", model_name="m", dataset_name="d", backend="a-no"))


@pytest.mark.parametrize("field", ["save_strategy", "eval_strategy"])
def test_a_no_is_fulfilled_by_whoever_cannot(field: str, site: Site, source: Callable[..., str]) -> None:
    bare = "@hookimpl\ndef backend_info():\n    return BackendInfo(summary='x', devices=('cpu',), honours=frozenset())"
    site.backend("bare", source(backend_info=bare))
    rows = {"model_name": "m", "dataset_name": "d", "eval_dataset": "e", "backend": "bare"}
    assert choose(resolve_config("sft", **rows, **{field: "no"}))[0].name == "bare"
    with pytest.raises(errors.NotHonoured, match=field):
        choose(resolve_config("sft", **rows, **{field: "epoch" if field == "save_strategy" else "steps"}))


def test_a_run_into_its_own_model_is_refused_when_it_is_made(
    site: Site, source: Callable[..., str], tmp_path: Path
) -> None:
    site.backend("silent", source(**SOUND))
    with pytest.raises(errors.RunError, match=r"would be overwritten\. Choose another output_dir"):
        create_sft_trainer(
            str(tmp_path), [{"prompt": "a", "completion": "b"}], "silent", output_dir=str(tmp_path)
        )


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"model_name": 3}, "model_name: got int 3; pass a hub id"),
        (
            {"model_name": "m", "eval_split": 0.1},
            "eval_split=0.1 must name a split, not a share: eval_share=0.1",
        ),
    ],
)
def test_values_of_the_wrong_kind(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        resolve_config("sft", dataset_name="d", **keywords)
