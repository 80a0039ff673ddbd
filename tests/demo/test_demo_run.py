"""The demo from end to end, with a tiny model: what it prints, what it leaves, how it stops."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import os
import shlex
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from aligntune.demo import dataset, model, plots, recipe, run
from aligntune.demo.run import Settings, Stopped, free_folder
from aligntune.demo.screen import Screen
from aligntune_core.errors import BackendNotFound, ConfigError, RunError

pytestmark = pytest.mark.backend

PNG = b"\x89PNG"


class Ended:
    """A finished demo: its folder, its figures and what it printed."""

    def __init__(self, home: Path, summary: dict[str, Any], printed: str) -> None:
        self.home, self.summary, self.printed = home, summary, printed


def screen_on(page: io.StringIO) -> Screen:
    return Screen(Console(file=page, width=200))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Ended:
    """A whole demo with few steps, in a folder with a space in its name."""
    home = tmp_path_factory.mktemp("my demos") / "aligntune-demo"
    page = io.StringIO()
    settings = Settings(model=str(tiny_model_dir), quick=True, output=home, backend="trl")
    return Ended(home, run.run(settings, screen_on(page)), page.getvalue())


@pytest.mark.parametrize(("name", "plot"), [("sft", "loss.png"), ("dpo", "loss_and_margin.png")])
def test_each_run_leaves_its_files(ended: Ended, name: str, plot: str) -> None:
    folder = ended.home / name
    for file in ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "aligntune.json"):
        assert (folder / file).is_file(), file
    assert (folder / plot).read_bytes().startswith(PNG)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(
        range(1, getattr(recipe.QUICK, f"{name}_steps") + 1)
    )
    assert json.loads((folder / "aligntune.json").read_text())["state"] == "finished"
    assert not (folder / "earlier-run").exists()


def test_the_summary_tells_what_the_files_tell(ended: Ended) -> None:
    assert json.loads((ended.home / "summary.json").read_text()) == ended.summary
    sft, dpo = ended.summary["sft"], ended.summary["dpo"]
    metrics = (ended.home / "sft" / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in metrics]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert (sft["first_loss"], sft["last_loss"], sft["steps"]) == (losses[0], losses[-1], 3)
    held_out = [line["eval_loss"] for line in lines if "eval_loss" in line]
    assert [sft["held_out_loss_before"], sft["held_out_loss_after"]] == held_out
    assert sft["held_out_fall"] == pytest.approx(1 - held_out[1] / held_out[0])
    assert held_out[1] < held_out[0]
    assert (sft["backend"], dpo["steps"]) == ("trl", 2)
    assert 0 <= dpo["held_out_pair_accuracy"] <= 1


def test_dpo_starts_from_what_sft_left(ended: Ended) -> None:
    assert ended.summary["dpo"]["first_loss"] == pytest.approx(math.log(2), abs=1e-5)
    manifest = json.loads((ended.home / "dpo" / "aligntune.json").read_text())
    assert manifest["config"]["model"]["name"] == str(ended.home / "sft")


def test_answers_are_those_of_the_three_stages(ended: Ended, tiny_model_dir: Path) -> None:
    """Loaded with plain peft, each stage's model says what the demo showed."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (entry,) = ended.summary["answers"]
    assert entry["question"] == dataset.questions(1)[0]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": entry["question"]}], add_generation_prompt=True, return_tensors="pt"
    )
    policies = {
        "before": AutoModelForCausalLM.from_pretrained(tiny_model_dir),
        "after_sft": AutoPeftModelForCausalLM.from_pretrained(ended.home / "sft"),
        "after_dpo": AutoPeftModelForCausalLM.from_pretrained(ended.home / "dpo"),
    }
    for stage, policy in policies.items():
        said = policy.generate(
            **prompt, max_new_tokens=recipe.QUICK.answer_tokens, do_sample=False, pad_token_id=0
        )
        new = said[0, prompt["input_ids"].shape[1] :]
        assert tokenizer.decode(new, skip_special_tokens=True) == entry[stage]


def test_the_screen_shows_model_figures_and_what_to_type_next(ended: Ended) -> None:
    printed = ended.printed
    assert f"Results go to {ended.home}." in printed
    assert "(from --model)" in printed
    for heading in ("before", "after SFT", "after DPO", "SFT held-out loss", "DPO held-out pairs told apart"):
        assert heading in printed
    assert f"{ended.summary['sft']['held_out_loss_after']:.4f}" in printed
    assert dataset.read(dataset.INSTRUCTIONS)[0]["prompt"] in printed


def test_the_printed_command_goes_on_from_the_result(ended: Ended, tmp_path: Path) -> None:
    from aligntune.cli.app import app

    (line,) = [line for line in ended.printed.splitlines() if line.strip().startswith("aligntune train")]
    own = tmp_path / "my_rows.jsonl"
    own.write_text("".join(json.dumps(row) + "\n" for row in dataset.read(dataset.INSTRUCTIONS)[:8]))
    words = shlex.split(line.replace("my_rows.jsonl", str(own)))[1:]
    result = CliRunner().invoke(app, [*words, "max_steps=1", "backend=trl"])
    assert result.exit_code == 0, result.output
    assert (ended.home / "next" / "adapter_model.safetensors").is_file()


def test_a_second_demo_takes_the_next_folder(tmp_path: Path) -> None:
    wanted = tmp_path / "aligntune-demo"
    assert free_folder(wanted) == wanted
    assert free_folder(wanted) == wanted, "an empty folder is free"
    (wanted / "sft").mkdir()
    second = free_folder(wanted)
    assert second == tmp_path / "aligntune-demo-2"
    (second / "sft").mkdir()
    assert free_folder(wanted) == tmp_path / "aligntune-demo-3"
    page = io.StringIO()
    screen_on(page).folder(second, wanted)
    assert page.getvalue() == f"Results go to {second} ({wanted} holds an earlier demo).\n"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be made: .* Choose another with --output"):
        free_folder(tmp_path / "file" / "aligntune-demo")


def test_a_backend_that_is_not_there_is_said_before_a_model_is_looked_for(tmp_path: Path) -> None:
    settings = Settings(output=tmp_path / "demo", backend="tlr")
    with pytest.raises(BackendNotFound, match="tlr"):
        run.run(settings, screen_on(io.StringIO()))
    assert not (tmp_path / "demo").exists()


def test_a_model_that_is_not_there_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    settings = Settings(model="./nothing", output=tmp_path / "demo", backend="trl")
    with pytest.raises(ConfigError, match="there is no such folder"):
        run.run(settings, screen_on(io.StringIO()))


def test_ctrl_c_while_training_saves_and_says_where(tmp_path: Path, tiny_model_dir: Path) -> None:
    home = tmp_path / "demo"
    metrics = home / "sft" / "metrics.jsonl"

    def press_ctrl_c() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if metrics.is_file() and '"loss"' in metrics.read_text():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.005)

    presser = threading.Thread(target=press_ctrl_c)
    presser.start()
    settings = Settings(model=str(tiny_model_dir), output=home, backend="trl")
    with pytest.raises(Stopped, match=rf"stopped by SIGINT at step \d+ of sft.*{home}") as stop:
        run.run(settings, screen_on(io.StringIO()))
    presser.join()
    assert stop.value.signal == "SIGINT"
    assert list((home / "sft").glob("checkpoint-*/adapter_model.safetensors"))


def test_ctrl_c_between_trainings_ends_with_a_sentence(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aligntune.cli.app import app

    def interrupted(self: Screen, text: str) -> None:
        if text.startswith("answering"):
            signal.raise_signal(signal.SIGINT)
        said.append(text)

    said: list[str] = []
    monkeypatch.setattr(Screen, "step", interrupted)
    words = ["demo", "--quick", "--model", str(tiny_model_dir), "--output", str(tmp_path / "demo")]
    # A shell's background job ignores Ctrl-C, and so would a test run that was started in one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = CliRunner().invoke(app, [*words, "--backend", "trl"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert said == [
        f"interrupted. What is done lies in {tmp_path / 'demo'}; `aligntune demo` starts a new one."
    ]


def test_an_answer_that_was_cut_off_ends_in_dots() -> None:
    page = io.StringIO()
    entry = {"question": "Why?", "before": "It rambles and", "after_sft": "[bold]Done.", "after_dpo": " \n"}
    screen_on(page).answers([entry])
    assert "It rambles and ..." in page.getvalue()
    assert "[bold]Done." in page.getvalue(), "an answer is never read as markup"
    assert "(nothing)" in page.getvalue()


def test_without_matplotlib_nothing_is_drawn_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """matplotlib is installed here, so its absence has to be made up."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert plots.missing()
    plots.sft(tmp_path)
    plots.dpo(tmp_path)
    assert not list(tmp_path.iterdir())
    page = io.StringIO()
    screen_on(page).left_behind(tmp_path, plots.missing())
    assert "pip install matplotlib" in page.getvalue()
    assert "plots (PNG)" not in page.getvalue()


@pytest.mark.slow
def test_smollm2_learns_the_style_from_a_few_rows(tmp_path: Path) -> None:
    """The real model, where an earlier demo has left it: the held-out loss that was measured, and how fast it falls."""
    from aligntune.core.backend_factory import create_sft_trainer

    try:
        path = str(model.cached(print))
    except model.NotThere as why:
        pytest.skip(f"SmolLM2 is not in the cache: {why}")
    trainer = create_sft_trainer(backend="trl", **recipe.sft(path, tmp_path / "sft", recipe.QUICK, seed=42))
    before = trainer.evaluate()["eval_loss"]
    assert before == pytest.approx(3.47, abs=0.1)
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.85 * before
