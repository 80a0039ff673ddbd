"""Both backends from one Python process: the parent keeps its own libraries, neither sees what the other changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.backend

HERE = Path(__file__).parent

SCRIPT = """
import json, os, runpy, sys
symbols = runpy.run_path({symbols!r})
symbols["import_all"]()
from aligntune import create_sft_trainer
# What the trl backend imports by itself.
import aligntune_trl.prepare, aligntune_trl.model.load, aligntune_trl.algorithms.sft
rows = [{{"prompt": f"What is {{i}} plus {{i}}?", "completion": f"It is {{2 * i}}."}} for i in range(16)]
out = {{}}

def run(name, **more):
    trainer = create_sft_trainer({model!r}, rows, max_steps=3, batch_size=4, save_strategy="no",
                                 output_dir=os.path.join({output!r}, name), **more)
    result = trainer.train()
    trainer.evaluate(rows[:4])
    if hasattr(trainer, "close"):
        trainer.close()
    return result["final_loss"]

def refused(**more):
    try:
        return run("refused", **more)
    except Exception as error:
        return [type(error).__name__, str(error)]

options = {{"allow_cpu": True}}
before, environment = symbols["snapshot"](), dict(os.environ)
out["early"] = refused(backend="unsloth", backend_options=options)
out["unsloth in a worker"] = run("one", backend="unsloth", isolation="process", backend_options=options)
out["trl here"] = run("two", backend="trl")
after = symbols["snapshot"]()
out["symbols"] = [len(before), len(symbols["named"]())]
out["replaced"] = symbols["replaced"](before, after)
out["foreign"] = symbols["foreign"](after)
out["unsloth here"] = "unsloth" in sys.modules
out["environment"] = [k for k in {{*environment, *os.environ}} if environment.get(k) != os.environ.get(k)]

from aligntune_core.launch import environment as kept
with kept.recorded_environment():
    import unsloth
out["replaced by import"] = symbols["replaced"](before, symbols["snapshot"]())
out["late"] = refused(backend="trl")
out["wrong order"] = refused(backend="unsloth", backend_options=options)
out["written"] = sorted(kept._changes)
out["handed on"] = [k for k in kept._changes if kept.clean().get(k) != environment.get(k)]
out["trl in a worker"] = run("three", backend="trl", isolation="process")
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def seen(
    unsloth_on_cpu: None, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, object]:
    """What the script saw: started by ``python -c``, so there is no file to run again."""
    folder = tmp_path_factory.mktemp("isolation")
    code = SCRIPT.format(
        symbols=str(HERE / "symbols.py"), model=str(tiny_model_dir), output=str(folder / "runs")
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_symbol_of_the_parent_is_replaced(seen: dict[str, object]) -> None:
    every, named = seen["symbols"]  # type: ignore[misc]
    assert every > 10_000  # type: ignore[has-type]
    assert named >= 20  # type: ignore[has-type]
    assert seen["replaced"] == []
    assert seen["foreign"] == []
    assert seen["unsloth here"] is False


def test_the_snapshot_would_see_an_import_of_unsloth(seen: dict[str, object]) -> None:
    replaced = seen["replaced by import"]
    assert isinstance(replaced, list)
    assert "transformers.training_args:TrainingArguments.__post_init__" in replaced
    assert "trl.trainer.sft_trainer:SFTTrainer" in replaced


def test_both_backends_trained_the_same(seen: dict[str, object]) -> None:
    assert seen["unsloth in a worker"] == pytest.approx(seen["trl here"], rel=1e-5)
    assert seen["trl in a worker"] == seen["trl here"]


def test_interference_is_refused_both_ways_with_a_way_out(seen: dict[str, object]) -> None:
    for name, library in (("early", "transformers"), ("late", "unsloth"), ("wrong order", "transformers")):
        kind, text = seen[name]  # type: ignore[misc]
        assert kind == "BackendInterference"  # type: ignore[has-type]
        assert library in text  # type: ignore[has-type]
        assert 'isolation="process"' in text  # type: ignore[has-type]


def test_what_unsloth_writes_to_the_environment_is_not_handed_on(seen: dict[str, object]) -> None:
    assert seen["environment"] == []
    written = seen["written"]
    assert isinstance(written, list)
    assert {"UNSLOTH_IS_PRESENT", "USE_TF"} <= set(written)
    assert seen["handed on"] == []
