"""An adapter names its base by a path that holds from every working directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from aligntune import create_sft_trainer
from aligntune_core.errors import ConfigError

pytestmark = pytest.mark.backend
ROWS = [{"prompt": f"say {i}", "completion": f"word {i}"} for i in range(4)]


@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_a_relative_model_name_is_written_absolute(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    shutil.copytree(tiny_model_dir, tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    create_sft_trainer(
        model_name="tiny",
        dataset_name=ROWS,
        backend=backend,
        max_steps=1,
        batch_size=2,
        output_dir="run",
        save_strategy="no",
    ).train()
    written = json.loads(Path("run/adapter_config.json").read_text(encoding="utf-8"))
    assert written["base_model_name_or_path"] == str(tmp_path / "tiny")


@pytest.mark.parametrize("base", ["gone", "./gone", "/nowhere/gone"])
def test_a_base_that_is_not_there_is_named_with_its_file(tmp_path: Path, base: str) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    content = {"peft_type": "LORA", "base_model_name_or_path": base}
    (adapter / "adapter_config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"adapter_config\.json: base_model_name_or_path is "):
        create_sft_trainer(
            model_name=str(adapter),
            dataset_name=ROWS,
            backend="trl",
            max_steps=1,
            output_dir=str(tmp_path / "run"),
        )
