"""A backend in a worker, started from a notebook kernel that has transformers loaded, as most notebooks do."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [pytest.mark.backend, pytest.mark.slow]

CELLS = """
import transformers
from aligntune.core.backend_factory import create_rl_trainer
rows = [{{"prompt": f"What is {{i}} plus {{i}}?"}} for i in range(16)]
settings = dict(
    algorithm="grpo", backend={backend!r}, max_steps=2, batch_size=4, num_generations=4, max_completion_length=8,
    reward_functions=[lambda completions, **columns: [len(str(text)) for text in completions]],
    save_strategy="no", output_dir={output!r},
)

# %%
import sys
try:
    create_rl_trainer({model!r}, rows, **settings)
    said = "made"
except Exception as error:
    said = type(error).__name__

# %%
from transformers import TrainerCallback

class Counted(TrainerCallback):  # of the notebook: it travels by value
    def on_step_end(self, args, state, control, **more):
        print("counted", state.global_step, flush=True)

trainer = create_rl_trainer({model!r}, rows, isolation="process", callbacks=[Counted()], **settings)
result = trainer.train()

# %%
import json
print(json.dumps([said, result["total_steps"], trainer.effective["run.seed"], "unsloth" in sys.modules]))
"""


def test_a_worker_started_from_a_notebook(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    backend = "unsloth" if find_spec("aligntune_unsloth") and find_spec("unsloth") else "trl"
    monkeypatch.setenv("ALIGNTUNE_UNSLOTH_ALLOW_CPU", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    text = CELLS.format(backend=backend, model=str(tiny_model_dir), output=str(tmp_path / "run"))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in text.split("# %%")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute(
        env=dict(os.environ)
    )
    printed = ["".join(o.get("text", "") for o in cell.outputs) for cell in notebook.cells]
    said, steps, seed, loaded = json.loads(printed[-1].splitlines()[-1])
    assert said == ("BackendInterference" if backend == "unsloth" else "made")
    assert steps == 2
    assert seed == 42
    assert not loaded
    assert "counted 2" in printed[2]
