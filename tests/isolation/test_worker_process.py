"""A backend in a process of its own: the parent stays clean, nothing is left behind, errors keep their type."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aligntune_core.config import payload
from aligntune_core.errors import ConfigError

pytestmark = pytest.mark.backend

Script = Callable[[str], "subprocess.Popen[str]"]
Process = Callable[[int], bool]

HEAD = """
import json, os, sys, time
from aligntune.core.backend_factory import create_sft_trainer
MODEL = {model!r}
rows = [{{"prompt": f"What is {{i}} plus {{i}}?", "completion": f"It is {{2 * i}}."}} for i in range(16)]
def make(**more):
    settings = dict(backend="trl", max_steps=3, batch_size=4, save_strategy="no", isolation="process") | more
    return create_sft_trainer(MODEL, rows, output_dir={output!r}, **settings)
"""


@pytest.fixture
def script(tiny_model_dir: Path, tmp_path: Path) -> Script:
    def start(body: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        head = HEAD.format(model=str(tiny_model_dir), output=str(tmp_path / "run"))
        path.write_text(head + textwrap.dedent(body))
        return subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    return start


def finished(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out.splitlines()


def test_a_whole_run_in_a_worker_leaves_the_parent_clean(script: Script, tmp_path: Path) -> None:
    body = """
    trainer = make(eval_dataset=rows[:4])
    result = trainer.train()
    figures = trainer.evaluate()
    answer = trainer.generate("hi", max_new_tokens=3)
    refused = []
    for name in ("model", "native", "tokenizer"):
        try:
            getattr(trainer, name)
        except Exception as error:
            refused.append(str(error))
    try:
        trainer.evaluate([{"prompt": "p", "completion": None}])
    except Exception as error:
        failure = [type(error).__name__, str(error), "".join(error.__notes__)]
    heavy = [m for m in ("torch", "transformers", "trl", "peft", "datasets") if m in sys.modules]
    print(json.dumps([result["total_steps"], figures["eval_loss"], len(answer), refused, failure, heavy]))
    """
    steps, loss, answers, refused, failure, heavy = json.loads(finished(script(body))[-1])
    assert steps == 3
    assert loss > 0
    assert answers == 1
    assert len(refused) == 3
    assert all("worker process" in text for text in refused)
    assert failure[0] == "BadRows"
    assert "row 0" in failure[1]
    assert "traceback in the worker process" in failure[2]
    assert heavy == []
    assert json.loads((tmp_path / "run" / "aligntune.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, None)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_stops_the_run_with_a_checkpoint_under_its_own_name(
    script: Script, tmp_path: Path, first: signal.Signals, second: signal.Signals | None, gone: Process
) -> None:
    process = script(
        """
        trainer = make(max_steps=100000)
        print(trainer._worker.process.pid, flush=True)
        result = trainer.train()
        print(result.stopped, result["model_path"], flush=True)
        """
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists():
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(first)
    if second is not None:  # as in process, no reason not to save
        time.sleep(0.01)
        process.send_signal(second)
    stopped, path = finished(process)[-1].split()
    assert stopped == first.name
    assert json.loads((tmp_path / "run" / "aligntune.json").read_text())["stopped"] == first.name
    assert (Path(path) / "trainer_state.json").is_file()
    assert gone(worker)


def test_an_error_of_torch_imports_no_torch_and_is_itself_where_that_is_possible(script: Script) -> None:
    lines = finished(
        script(
            """
            from aligntune.core.backend_factory import create_rl_trainer

            class Mine(Exception):
                def __init__(self, one, two):
                    super().__init__(f"{one} {two}")

            def greedy(completions, **columns):
                import torch
                how = open("how").read()
                if how == "own":
                    raise Mine("out of", "patience")
                if how == "exit":
                    sys.exit(7)
                raise torch.OutOfMemoryError("tried to allocate a lot")

            trainer = create_rl_trainer(
                MODEL, [{"prompt": row["prompt"]} for row in rows], algorithm="grpo", backend="trl", max_steps=1,
                batch_size=4, num_generations=4, max_completion_length=4, reward_functions=[greedy],
                save_strategy="no", output_dir="grpo", isolation="process",
            )

            def told(how="torch"):
                with open("how", "w") as file:
                    file.write(how)
                try:
                    trainer.train()
                except BaseException as error:
                    return [type(error).__module__, type(error).__name__, str(error), "".join(error.__notes__)]

            there = told()
            heavy = [m for m in ("torch", "transformers", "trl", "numpy", "datasets") if m in sys.modules]
            import torch
            print(json.dumps([there, heavy, told(), told("own"), told("exit")]))
            """
        )
    )
    quoted, heavy, itself, own, ended = json.loads(lines[-1])
    assert heavy == []
    assert quoted[1] == "RunError"
    assert quoted[2] == "torch.OutOfMemoryError: tried to allocate a lot"
    assert "traceback in the worker process" in quoted[3]
    assert 'reward "greedy"' in quoted[3]
    assert itself[:3] == ["torch", "OutOfMemoryError", "tried to allocate a lot"]
    assert own[:3] == ["__main__", "Mine", "out of patience"]
    assert ended[:3] == ["builtins", "SystemExit", "7"]


def test_a_killed_parent_leaves_no_worker(script: Script, alive: Process, gone: Process) -> None:
    process = script("trainer = make(); print(trainer._worker.process.pid, flush=True); time.sleep(100)")
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    assert alive(worker)
    process.kill()
    process.wait()
    assert gone(worker)


def test_a_killed_worker_is_named_in_the_error(script: Script) -> None:
    lines = finished(
        script(
            """
            trainer = make(max_steps=100000)
            os.kill(trainer._worker.process.pid, 9)
            try:
                trainer.train()
            except Exception as error:
                print(type(error).__name__, str(error).replace(chr(10), " "))
            """
        )
    )
    assert lines[-1].startswith("RunError the worker process was killed by SIGKILL")
    assert "resume=True" in lines[-1]


def test_objects_travel_unopened_and_a_model_does_not_travel() -> None:
    from aligntune_core.config import resolve_config

    config = resolve_config("sft", model_name="m", dataset_name=[{"text": "a"}], callbacks=[len])
    packed = payload.pack(config)
    assert isinstance(packed.data.dataset, payload.Pickled)
    opened = payload.unpack(packed)
    assert opened.data.dataset == [{"text": "a"}]
    assert opened.run.callbacks == [len]
    with pytest.raises(ConfigError, match="save_pretrained"):
        payload.pack(resolve_config("sft", model_name=object(), dataset_name="d"))
    with pytest.raises(ConfigError, match=r"data\.dataset: a .* cannot be sent"):
        payload.pack(resolve_config("sft", model_name="m", dataset_name=[{"text": (i for i in range(3))}]))
