"""``train`` and ``plan`` on a tiny model, and how they fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Command = Callable[..., Result]

pytestmark = pytest.mark.backend


def manifest(run: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run, "aligntune.json").read_text())
    return found


def losses(run: str) -> list[float]:
    lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_train_then_repeat_from_the_manifest(command: Command, sft_file: Path) -> None:
    first = command("train", sft_file, "lora_r=4", "--json")
    assert first.exit_code == 0, first.output
    result = json.loads(first.stdout)
    assert result["total_steps"] == 2
    assert Path(result["model_path"], "adapter_config.json").is_file()
    assert json.loads(Path("run/adapter_config.json").read_text())["r"] == 4

    again = command("train", "run/aligntune.json", "output_dir=again")
    assert again.exit_code == 0, again.output
    assert losses("again") == losses("run")
    assert manifest("again")["config"]["peft"]["r"] == 4


def test_plan_shows_the_run_and_loads_no_weights(
    command: Command, sft_file: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "no-weights"
    shutil.copytree(tiny_model_dir, empty, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    words = (sft_file, f"model_name={empty}", "gradient_accumulation_steps=2", "save_steps=1")
    result = command("plan", *words, "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["backend"]["name"] == "trl"
    assert plan["config"]["optim"]["max_steps"] == 2
    assert plan["sources"]["optim.batch_size"] == f"file {sft_file}:6"
    assert plan["sources"]["optim.weight_decay"].startswith("default")
    assert plan["sources"]["model.precision"].startswith("resolved")
    assert plan["steps"] == {
        "max_steps": 2,
        "epochs": pytest.approx(8 / 12),
        "rows": 12,
        "global_batch": 4,
        "warmup_steps": 0,
        "processes": 1,
        "tokens": plan["steps"]["tokens"],
    }
    assert plan["steps"]["tokens"] == pytest.approx(
        plan["data"]["mean_tokens"] * 8, abs=1
    )  # 2 steps of 4 rows
    assert plan["size"]["parameters"] > plan["size"]["trained"] > 0
    assert plan["size"]["memory_bytes"] > 4 * plan["size"]["parameters"]
    assert plan["time"] is None
    assert plan["data"]["rows_given"] == 12
    on_loss = "".join(piece["text"] for piece in plan["first_row"]["row"] if piece["loss"])
    assert "It is 0." in on_loss
    assert "What is 0" not in on_loss
    assert {Path(entry["path"]).name for entry in plan["writes"]} >= {"aligntune.json", "checkpoint-N"}
    assert not Path("run").exists()

    text = command("plan", *words).stdout
    assert "[[It is 0." in text
    assert "12 given, 0 bad" in text

    assert command("train", *words).exit_code == 1  # the weights are really not there


def test_plan_shows_what_the_user_set_first_and_the_rest_on_request(command: Command, sft_file: Path) -> None:
    few = command("plan", sft_file, "lora_r=4").stdout
    assert few.splitlines()[2].startswith("algorithm")
    assert "optim.learning_rate" in few
    assert "peft.r" in few
    assert "optim.adam_beta1" not in few
    assert "more have defaults or were worked out: aligntune plan --all" in few
    assert "= 0.3333 epoch(s)" in few
    assert "of them trained" in few
    assert "at least" in few
    everything = command("plan", sft_file, "lora_r=4", "--all").stdout
    assert "optim.adam_beta1" in everything
    assert "plan --all" not in everything
    assert "peft.r " not in command("plan", sft_file, "use_peft=false").stdout


def test_plan_shows_as_many_rows_as_asked_for(command: Command, sft_file: Path) -> None:
    result = command("plan", sft_file, "--rows", "3", "--json")
    rows = json.loads(result.stdout)["rows"]
    trained = ["".join(p["text"] for p in row["row"] if p["loss"]) for row in rows]
    assert [text.split("<")[0] for text in trained] == ["It is 0.", "It is 2.", "It is 4."]
    text = command("plan", sft_file, "--rows", "13").stdout  # there are twelve
    assert "row 12 (" in text
    assert "It is 22." in text
    streamed = command("plan", sft_file, "streaming=true", "--rows", "2")
    assert "row 2 (" in streamed.stdout, streamed.output
    assert command("plan", sft_file, "--rows", "0").exit_code == 2


def test_plan_takes_the_time_from_the_run_that_lies_in_the_folder(command: Command, sft_file: Path) -> None:
    assert command("train", sft_file).exit_code == 0
    text = command("plan", sft_file).stdout
    assert re.search(r"time: about \d:\d\d:\d\d, at the [\d,]+ tokens/s of the run in run", text)
    assert "time: not known" in command("plan", sft_file, "algorithm=sft", "output_dir=other").stdout
    with Path("run/metrics.jsonl").open("a") as metrics:
        metrics.write('{"loss": ')  # cut off
    assert "time: not known" in command("plan", sft_file).stdout


def test_plan_counts_dropped_rows_and_says_what_becomes_of_an_earlier_run(
    command: Command, sft_file: Path
) -> None:
    with Path("rows.jsonl").open("a") as rows:
        rows.write('{"prompt": "And this?", "completion": ""}\n')
    Path("run").mkdir()
    Path("run/metrics.jsonl").write_text("")
    text = command("plan", sft_file, "on_bad_rows=drop").stdout
    assert "13 given, 1 bad" in text
    assert "rows.jsonl:13" in text
    assert "earlier-run" in text


def test_plan_of_a_preference_run_shows_both_answers(command: Command, sft_file: Path) -> None:
    rows = [{"prompt": f"Is {n} a number?", "chosen": "Yes.", "rejected": "No!"} for n in range(4)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = command("plan", sft_file, "algorithm=dpo", "dataset_name=pairs.jsonl")
    assert result.exit_code == 0, result.output
    assert "first row, chosen" in result.stdout
    assert "[[Yes." in result.stdout
    assert "[[No!" in result.stdout


def test_ctrl_c_saves_a_checkpoint_and_resume_goes_on(command: Command, sft_file: Path) -> None:
    def press() -> None:
        metrics = Path("run/metrics.jsonl")
        while not (metrics.is_file() and metrics.read_text().count('"loss"') >= 2):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    words = (sft_file, "max_steps=400", "learning_rate=1e-5")
    stopped = command("train", *words)
    assert stopped.exit_code == 130, stopped.output
    assert manifest()["state"] == "stopped"
    at = manifest()["total_steps"]
    assert 2 <= at < 400
    assert Path(f"run/checkpoint-{at}").is_dir()
    assert "--resume" in stopped.output

    done = command("train", *words, f"max_steps={at + 2}", "--resume")
    assert done.exit_code == 2  # given twice
    done = command("train", sft_file, f"max_steps={at + 2}", "learning_rate=1e-5", "--resume")
    assert done.exit_code == 0, done.output
    assert manifest()["total_steps"] == at + 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["lerning_rate=1"], 2, "learning_rate"),
        (["learning_rate"], 2, "key=value"),
        (["config=other.yaml"], 2, "config"),
        (["batch_size=0"], 2, "batch_size"),
        (["beta=0.1"], 2, "dpo"),
        (["dataset_name=nowhere.jsonl"], 2, "nowhere.jsonl"),
        (["backend=trk"], 3, 'Did you mean "trl"?'),
        (["--resume"], 1, "checkpoint"),
        (["--resume", "model_name=nowhere"], 1, "checkpoint"),  # before a model is looked for
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_our_errors_are_a_message_and_an_exit_code(
    command: Command, sft_file: Path, words: list[str], code: int, said: str
) -> None:
    result = command("train", sft_file, *words)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stderr.lstrip().startswith("error: ") or "\nerror: " in result.stderr
    assert "Traceback" not in result.output


def test_bad_rows_are_named_by_line_before_anything_is_trained(command: Command, sft_file: Path) -> None:
    with Path("rows.jsonl").open("a") as rows:
        rows.write('{"prompt": "And this?", "completion": null}\n')
    result = command("train", sft_file)
    assert result.exit_code == 2
    assert "rows.jsonl:13" in result.stderr
    assert not Path("run").exists()


def test_a_missing_file_is_a_configuration_error(command: Command, tmp_path: Path) -> None:
    result = command("train", tmp_path / "nothing.yaml")
    assert result.exit_code == 2
    assert "nothing.yaml" in result.stderr


def test_errors_as_json(command: Command, sft_file: Path) -> None:
    result = command("train", sft_file, "lerning_rate=1", "bach_size=2", "--json")
    error = json.loads(result.stdout)["error"]
    assert result.exit_code == error["exit_code"] == 2
    assert error["type"] == "ConfigError"
    assert len(error["problems"]) == 2


def test_debug_shows_the_traceback(command: Command, sft_file: Path) -> None:
    assert "Traceback" in command("train", sft_file, "lerning_rate=1", "--debug").stderr
    assert "Traceback" in command("plan", sft_file, "lerning_rate=1", "-v").stderr


def test_an_error_that_nobody_foresaw_comes_with_its_traceback(
    command: Command, sft_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(config: object) -> None:
        raise ZeroDivisionError("a library fell over")

    monkeypatch.setattr("aligntune_core.create.create_trainer", explode)
    result = command("train", sft_file)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "a library fell over" in result.stderr
    assert "in explode" in result.stderr
