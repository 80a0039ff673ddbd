"""``aligntune compare``: two backends in processes of their own, one table, one picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import Result

from aligntune.comparison import Measured, _Clock, differences, untold

Command = Callable[..., Result]


@pytest.mark.backend
def test_the_same_job_on_two_backends(
    command: Command, sft_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = "unsloth" if find_spec("aligntune_unsloth") and find_spec("unsloth") else "torch"
    monkeypatch.setenv("ALIGNTUNE_UNSLOTH_ALLOW_CPU", "1")
    words = (sft_file, "max_steps=4", "save_strategy=no", "logging_steps=3")
    with caplog.at_level("INFO", "aligntune"):
        result = command("compare", *words, "--backends", f"trl,{other}", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert "every step (logging_steps=1, not 3" in caplog.text
    assert list(found["backends"]) == ["trl", other]
    for name, row in found["backends"].items():
        assert row["error"] is None
        assert row["steps"] == len(row["losses"]) == 4
        assert row["tokens_per_second"] > 0
        assert 0 < row["step_ms"] < 60_000
        assert row["peak_memory_bytes"] > 10**8
        assert row["startup_s"] > row["step_ms"] / 1000
        ran = json.loads(Path("run", "compare", name, "aligntune.json").read_text())["config"]["run"]
        assert ran["logging_steps"] == 1
        assert ran["eval_steps"] == 3, "the job's, which follows from its logging_steps"
    trl, theirs = found["backends"].values()
    assert theirs["final_loss"] == pytest.approx(trl["final_loss"], rel=1e-5)
    if other == "unsloth":
        assert found["differences"] == {}
    assert Path(found["plot"]).read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path("run", "compare", "compare.json").read_text()) == found


@pytest.mark.backend
def test_a_backend_that_fails_is_told_and_the_other_still_runs(command: Command, sft_file: Path) -> None:
    words = (sft_file, "max_steps=1", "save_strategy=no", "lora_bias=all", "use_dora=true")
    result = command("compare", *words, "--backends", "torch,trl")
    if find_spec("aligntune_torch") is None:
        pytest.skip("the torch backend is not installed")
    assert result.exit_code == 1, result.output
    assert "torch: NotHonoured" in result.stdout
    assert "trl" in result.stdout


@pytest.mark.backend
@pytest.mark.parametrize(
    ("does", "said"), [("return [1 / 0]", "ZeroDivisionError"), ("raise SystemExit(7)", "SystemExit: 7")]
)
def test_an_error_of_the_users_own_on_one_backend_is_a_row_as_well(
    command: Command, sft_file: Path, does: str, said: str
) -> None:
    if find_spec("aligntune_torch") is None:
        pytest.skip("the torch backend is not installed")
    Path("scores.py").write_text(f"def broken(completions, **columns):\n    {does}\n")
    words = ("algorithm=grpo", "save_strategy=no", "num_generations=2", "reward_functions=[scores:broken]")
    result = command("compare", sft_file, *words, "--backends", "trl,torch", "--json")
    assert result.exit_code == 1, result.output
    trl, theirs = json.loads(result.stdout)["backends"].values()
    assert said in trl["error"]
    assert "scores.py" in trl["traceback"]
    assert "grpo" in theirs["error"]
    assert "aligntune" in theirs["traceback"]


@pytest.mark.parametrize("names", ["trl", "trl,trl"])
def test_one_backend_is_nothing_to_compare(command: Command, sft_file: Path, names: str) -> None:
    result = command("compare", sft_file, "--backends", names)
    assert result.exit_code == 2
    assert "two or more" in result.stderr


def test_an_unknown_backend_stops_before_anything_runs(command: Command, sft_file: Path) -> None:
    result = command("compare", sft_file, "--backends", "trl,unslot")
    assert result.exit_code == 3
    assert not Path("run").exists()


def test_differences_are_named_and_equal_spellings_are_none() -> None:
    common = {"run.output_dir": "x", "optim.learning_rate": 1e-4, "optim.optimizer": "adamw_torch"}
    one = Measured("one", effective=common | {"optim.batch_size": 2, "data.packing": False})
    two = Measured(
        "two",
        effective=common
        | {"optim.batch_size": 4, "optim.optimizer": "adamw_torch_fused", "run.output_dir": "y"},
    )
    assert differences([one, two]) == {"optim.batch_size": {"one": 2, "two": 4}}
    assert untold([one, two]) == {"two": ["data.packing"]}
    assert differences([one, one]) == {}
    assert untold([one, one]) == {}


def test_the_clock_leaves_the_first_step_out(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 110.0, 112.0, 113.0, 117.0])
    monkeypatch.setattr("aligntune.comparison.time.perf_counter", lambda: next(times))
    clock = _Clock()
    for step in (1, 2, 3, 5):
        clock({"step": step, "loss": 1.0, "tokens": 50})
    assert clock.first_step() == 10.0
    assert clock.step_ms() == 2000.0
    assert clock.tokens_per_second() == pytest.approx(150 / 7)
