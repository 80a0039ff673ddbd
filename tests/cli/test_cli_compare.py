"""``aligntune compare``: two backends in processes of their own, one table, one picture."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import Result

from aligntune.comparison import BackendRun, Comparison, _Clock, _job, differences, untold
from aligntune_core.config import Config, resolve_config
from tests.site import Site, plugin

Command = Callable[..., Result]
Failing = Callable[[str, str], str]


@pytest.fixture
def failing(site: Site) -> Failing:
    """Install a backend of this name that takes every job and raises this in its worker."""
    fields = ("learning_rate", "batch_size", "max_steps")
    honours = ("run.save_strategy", "rewards.functions", *(f"optim.{name}" for name in fields))
    hooks = {
        "backend_info": f"""
@hookimpl
def backend_info():
    return BackendInfo(summary="fails", honours=frozenset({honours}), devices=("cpu",))
""",
        "supports_algorithm": "@hookimpl\ndef supports_algorithm(algorithm):\n    return True\n",
    }

    def install(name: str, error: str) -> str:
        prepare = f"@hookimpl\ndef prepare(config):\n    raise {error}\n"
        source = plugin(**hooks, prepare=f"from aligntune_core.errors import DataError\n{prepare}")
        return site.backend(name, source)

    return install


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
def test_a_backend_that_fails_is_told_and_the_other_still_runs(
    command: Command, sft_file: Path, failing: Failing
) -> None:
    failing("acme", "DataError('no luck')")
    words = (sft_file, "max_steps=1", "save_strategy=no")
    result = command("compare", *words, "--backends", "acme,trl", "--json")
    assert result.exit_code == 1, result.output
    acme, trl = json.loads(result.stdout)["backends"].values()
    assert acme["error"] == "DataError: no luck"
    assert "aligntune_fake" in acme["traceback"]
    assert trl["error"] is None
    assert trl["steps"] == 1


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.parametrize(
    ("does", "said"), [("return [1 / 0]", "ZeroDivisionError"), ("raise SystemExit(7)", "SystemExit: 7")]
)
def test_an_error_of_the_users_own_on_one_backend_is_a_row_as_well(
    command: Command, sft_file: Path, failing: Failing, does: str, said: str
) -> None:
    failing("acme", "Exception('no luck')")
    Path("scores.py").write_text(f"def broken(completions, **columns):\n    {does}\n")
    words = ("algorithm=grpo", "save_strategy=no", "num_generations=2", "reward_functions=[scores:broken]")
    result = command("compare", sft_file, *words, "--backends", "trl,acme", "--json")
    assert result.exit_code == 1, result.output
    trl, acme = json.loads(result.stdout)["backends"].values()
    assert said in trl["error"]
    assert "scores.py" in trl["traceback"]
    assert "no luck" in acme["error"]
    assert "aligntune" in acme["traceback"]


def test_an_error_in_the_data_that_all_meet_is_said_once_with_its_own_exit_code(
    command: Command, sft_file: Path, failing: Failing
) -> None:
    for name in ("acme", "apex"):
        failing(name, "DataError('row 3 is bad')")
    result = command("compare", sft_file, "--backends", "acme,apex")
    assert result.exit_code == 2
    assert result.output.count("row 3 is bad") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("DataError('row 3 is bad')", "DataError('row 4 is bad')"),
        ("DataError('row 3 is bad')", "ValueError('row 3 is bad')"),
        ("ValueError('row 3 is bad')", "ValueError('row 3 is bad')"),
    ],
)
def test_other_errors_are_rows(
    command: Command, sft_file: Path, failing: Failing, first: str, second: str
) -> None:
    failing("acme", first)
    failing("apex", second)
    result = command("compare", sft_file, "--backends", "acme,apex", "--json")
    assert result.exit_code == 1
    assert list(json.loads(result.stdout)["backends"]) == ["acme", "apex"]
    shown = command("compare", sft_file, "--backends", "acme,apex").stdout
    assert f"acme: {first.partition('(')[0]}: row 3 is bad" in shown
    assert f"apex: {second.partition('(')[0]}: row" in shown


def test_all_are_asked_before_the_first_one_starts(command: Command, sft_file: Path, site: Site) -> None:
    site.backend("acme")
    result = command(
        "compare", sft_file, "algorithm=gspo", "reward_functions=[length]", "--backends", "trl,acme"
    )
    assert result.exit_code == 2, result.output
    assert 'backend "acme" does not train "gspo": sft only' in result.stderr
    assert not Path("run").exists()


def test_a_disabled_backend_is_named_as_such(
    command: Command, sft_file: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.backend("acme")
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "trl")
    result = command("compare", sft_file)
    assert result.exit_code == 2
    assert "got trl. Installed: acme (not in ALIGNTUNE_BACKENDS)" in result.stderr
    result = command("compare", sft_file, "--backends", "trl,acme")
    assert result.exit_code == 3
    assert "not in ALIGNTUNE_BACKENDS" in result.stderr


def test_one_that_does_not_train_the_algorithm_is_left_out_where_none_is_named(
    command: Command, sft_file: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.backend("acme")
    monkeypatch.setenv("ALIGNTUNE_BACKENDS", "trl,acme")
    result = command("compare", sft_file, "algorithm=gspo", "reward_functions=[length]")
    assert result.exit_code == 2
    assert "got trl. Installed: acme (does not train gspo)" in result.stderr


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_what_has_run_is_kept(
    command: Command,
    sft_file: Path,
    failing: Failing,
    number: signal.Signals,
    code: int,
) -> None:
    for name in ("acme", "apex"):
        failing(name, "Exception('no luck')")

    def press() -> None:
        metrics = Path("run/compare/trl/metrics.jsonl")
        while not (metrics.is_file() and '"loss"' in metrics.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=press, daemon=True).start()
    result = command("compare", sft_file, "max_steps=400", "--backends", "acme,trl,apex", "--json")
    assert result.exit_code == code, result.output
    found = json.loads(result.stdout)
    assert list(found["backends"]) == ["acme", "trl"]
    assert found["backends"]["trl"]["stopped"] == number.name
    steps = found["backends"]["trl"]["steps"]
    assert steps >= 1
    assert found["backends"]["trl"]["error"] == f"stopped by {number.name} at step {steps}"
    assert json.loads(Path("run/compare/compare.json").read_text()) == found


def test_each_backends_figures_are_written_when_it_is_done(
    command: Command, sft_file: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme", "apex"):
        failing(name, "Exception('no luck')")

    def measure(job: Config) -> BackendRun:
        if job.backend == "apex":
            raise KeyboardInterrupt
        return BackendRun(job.backend, steps=2, losses=[(1, 2.0), (2, 1.0)])

    monkeypatch.setattr("aligntune.comparison.measure", measure)
    result = command("compare", sft_file, "--backends", "acme,apex")
    assert result.exit_code == 130
    found = json.loads(Path("run/compare/compare.json").read_text())
    assert found["backends"]["acme"]["steps"] == 2
    assert Path(found["plot"]).is_file()


def test_nothing_of_an_earlier_comparison_stays(command: Command, sft_file: Path, failing: Failing) -> None:
    folder = Path("run/compare")
    folder.mkdir(parents=True)
    for name in ("losses.png", "compare.json"):
        (folder / name).write_text("old")
    failing("acme", "KeyboardInterrupt")
    failing("apex", "KeyboardInterrupt")
    assert command("compare", sft_file, "--backends", "acme,apex").exit_code == 130
    assert not (folder / "losses.png").exists()
    assert not (folder / "compare.json").exists()


def test_without_matplotlib_no_curves_are_drawn(
    command: Command, sft_file: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme", "apex"):
        failing(name, "Exception('no luck')")
    monkeypatch.setattr("aligntune.comparison.measure", lambda job: BackendRun(job.backend))
    monkeypatch.setattr("aligntune.comparison.importlib.util.find_spec", lambda name: None)
    result = command("compare", sft_file, "--backends", "acme,apex")
    assert result.exit_code == 0, result.output
    assert "not drawn, matplotlib is missing (pip install matplotlib)" in result.stdout


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
    one = BackendRun("one", effective=common | {"optim.batch_size": 2, "data.packing": False})
    two = BackendRun(
        "two",
        effective=common
        | {"optim.batch_size": 4, "optim.optimizer": "adamw_torch_fused", "run.output_dir": "y"},
    )
    assert differences([one, two]) == {"optim.batch_size": {"one": 2, "two": 4}}
    assert untold([one, two]) == {"two": ["data.packing"]}
    assert differences([one, one]) == {}
    assert untold([one, one]) == {}


def test_nothing_that_is_compared_is_sent_to_the_hub(tmp_path: Path) -> None:
    config = resolve_config(
        "sft", model_name="a-model", dataset_name="rows.jsonl", push_to_hub=True, hub_model_id="me/it"
    )
    job = _job(config, "trl", tmp_path)
    assert (job.run.push_to_hub, config.run.push_to_hub) == (False, True)


def test_the_clock_leaves_the_first_step_out(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 110.0, 112.0, 113.0, 117.0])
    monkeypatch.setattr("aligntune.comparison.time.perf_counter", lambda: next(times))
    clock = _Clock()
    for step in (1, 2, 3, 5):
        clock({"step": step, "loss": 1.0, "tokens": 50})
    assert clock.first_step() == 10.0
    assert clock.step_ms() == 2000.0
    assert clock.tokens_per_second() == pytest.approx(150 / 7)


def test_how_far_the_losses_lie_apart() -> None:
    one = BackendRun("one", losses=[(1, 2.0), (2, 1.5), (3, 9.0)])
    two = BackendRun("two", losses=[(1, 2.25), (2, 1.0)])
    failed = BackendRun("failed", error="it did", losses=[(1, 7.0), (2, 7.0)])
    assert Comparison([one, two, failed], {}, {}, None, ".").loss_spread == (2, 0.5)
    assert Comparison([one, failed], {}, {}, None, ".").loss_spread is None
