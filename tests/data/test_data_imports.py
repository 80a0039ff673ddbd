"""Preparing rows loads the ``datasets`` library at most: no torch, and no transformers beyond the tokenizer given."""

from __future__ import annotations

from aligntune_core.testing.blocker import run_blocked

PREPARE = """
from aligntune_core.algorithms import find
from aligntune_core.config.resolve.resolution import resolve
from aligntune_core.config import resolve_config
from aligntune_core.data import prepare_datasets
from aligntune_core.types import Device
rows = [{"prompt": "a", "completion": "b"}]
config = resolve(resolve_config("sft", model_name="m", dataset_name=rows), Device(kind="cpu"))
print(len(prepare_datasets(config, find("sft"), None).train))
"""


def test_preparing_rows_imports_no_torch_and_no_transformers() -> None:
    done = run_blocked(PREPARE, names=("torch", "transformers", "trl", "peft", "accelerate"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


def test_importing_the_data_package_imports_nothing_heavy() -> None:
    done = run_blocked(
        "import aligntune_core.data as d; d.prepare_datasets, d.render, d.DataReport, d.BadRows"
    )
    assert done.returncode == 0, done.stderr
