"""What a user sees of a run: files, results, a second run, resume, Ctrl-C, NaN, repetition. Real TRL, tiny model."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune.core.backend_factory import create_rl_trainer, create_sft_trainer, create_trainer
from aligntune_core.errors import CheckpointError, ConfigError, NonFiniteLoss, RunError
from aligntune_core.run import checkpoints, events

pytestmark = pytest.mark.backend

Make = Callable[..., Any]


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"What is {i} plus {i}?", "completion": f"It is {2 * i}."} for i in range(20)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def make(tiny_model_dir: Path, rows_file: Path, tmp_path: Path) -> Make:
    def make_trainer(output: str = "run", **keywords: Any) -> Any:
        settings: dict[str, Any] = {
            "max_steps": 4,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "save_strategy": "no",
        } | keywords
        return create_sft_trainer(
            str(tiny_model_dir), str(rows_file), "trl", output_dir=str(tmp_path / output), **settings
        )

    return make_trainer


class StopAt:
    """A callback that sends this process a signal after a step."""

    def __new__(cls, step: int, number: int = signal.SIGINT) -> Any:
        from transformers import TrainerCallback

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == step:
                    os.kill(os.getpid(), number)

        return Callback()


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in events.read(folder / "metrics.jsonl") if "loss" in line]


def test_a_run_leaves_what_the_contract_names(make: Make, tmp_path: Path) -> None:
    result = make().train()
    folder = tmp_path / "run"
    assert result["model_path"] == str(folder)
    assert result["total_steps"] == 4
    assert result["training_time"] > 0
    assert dict(result)["final_loss"] == losses(folder)[-1][1]
    manifest = json.loads((folder / "aligntune.json").read_text())
    assert manifest["state"] == "finished"
    assert manifest["backend"] == "trl"
    assert manifest["seed"] == 42
    assert manifest["rows_given"] == 20
    assert manifest["rows_dropped"] == 0
    assert manifest["repeatable"] is True
    assert {"torch", "trl"} <= set(manifest["versions"])
    assert manifest["metrics"]["train_loss"] == result["train_loss"]
    steps = [line for line in events.read(folder / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        assert {"epoch", "learning_rate", "grad_norm", "tokens_per_second"} <= set(line)

    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    assert AutoPeftModelForCausalLM.from_pretrained(folder).peft_config["default"].r == 16
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_the_manifest_repeats_the_run(make: Make, tmp_path: Path) -> None:
    make().train()
    first = losses(tmp_path / "run")
    create_trainer(tmp_path / "run" / "aligntune.json").train()
    assert losses(tmp_path / "run") == first
    assert losses(tmp_path / "run" / "earlier-run" / "1") == first


def test_a_second_run_in_the_folder_sets_the_first_aside(make: Make, tmp_path: Path) -> None:
    make(max_steps=2).train()
    make(max_steps=3).train()
    assert len(losses(tmp_path / "run")) == 3
    assert len(losses(tmp_path / "run" / "earlier-run" / "1")) == 2
    assert (tmp_path / "run" / "earlier-run" / "1" / "adapter_model.safetensors").is_file()


def test_training_twice_says_that_it_goes_on_and_is_not_repeatable(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make(max_steps=2)
    trainer.train()
    assert "has trained before" not in caplog.text
    trainer.train()
    assert "has trained before: the run goes on from its weights" in caplog.text
    assert json.loads((tmp_path / "run" / "aligntune.json").read_text())["repeatable"] is False
    assert losses(tmp_path / "run") != losses(tmp_path / "run" / "earlier-run" / "1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_resume_ends_like_an_uninterrupted_run(
    make: Make, tmp_path: Path, number: int
) -> None:
    make("whole", max_steps=5).train()
    trainer = make("cut", max_steps=5, callbacks=[StopAt(2, number)])
    result = trainer.train()
    assert result.stopped == signal.Signals(number).name
    assert result["model_path"] == str(tmp_path / "cut" / "checkpoint-2")
    assert checkpoints.problem(tmp_path / "cut" / "checkpoint-2") is None
    assert json.loads((tmp_path / "cut" / "aligntune.json").read_text())["state"] == "stopped"
    assert make("cut", max_steps=5).train(resume=True).stopped is None
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]


def test_resume_passes_over_a_damaged_checkpoint(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(max_steps=4, save_strategy="steps", save_steps=2).train()
    whole = losses(tmp_path / "run")
    (tmp_path / "run" / "checkpoint-4" / "trainer_state.json").unlink()
    make(max_steps=4, save_strategy="steps", save_steps=2).train(resume=True)
    assert "checkpoint-4: trainer_state.json, which is written last, is missing" in caplog.text
    assert losses(tmp_path / "run") == whole


def test_a_checkpoint_of_another_run_is_refused_and_nothing_is_touched(
    make: Make, tiny_model_dir: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2}
    make(max_steps=2, **settings).train()
    before = (tmp_path / "run" / "aligntune.json").read_text()
    for keyword, value, was in (("lora_r", 4, 16), ("learning_rate", 0.5, 0.001), ("use_peft", False, True)):
        with pytest.raises(CheckpointError, match=rf"another run: .*{keyword}={value}, there {was}"):
            make(max_steps=4, **settings, **{keyword: value}).train(resume=True)
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 4
    dpo = create_rl_trainer(
        str(tiny_model_dir), rows, "dpo", "trl", output_dir=str(tmp_path / "run"), learning_rate=1e-3
    )
    with pytest.raises(CheckpointError, match="another run: algorithm='dpo', there 'sft'"):
        dpo.train(resume=True)
    assert (tmp_path / "run" / "aligntune.json").read_text() == before


def test_a_resume_says_what_has_changed_and_when_nothing_is_left(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2}
    make(max_steps=2, **settings).train()
    make(max_steps=4, max_grad_norm=0.5, max_samples=12, **settings).train(resume=True)
    assert "changed since checkpoint-2: max_grad_norm=0.5, there 1.0" in caplog.text
    assert "the training rows are not those of checkpoint-2" in caplog.text
    caplog.clear()
    make(max_steps=4, max_grad_norm=0.5, max_samples=12, **settings).train(resume=True)
    assert "checkpoint-4 is at step 4 of 4: nothing is left to train" in caplog.text
    assert "changed since" not in caplog.text


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_do(make: Make, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match="Lower learning_rate") as caught:
        make(learning_rate=1e30, max_steps=6, max_grad_norm=0).train()
    assert any("while training with" in note for note in caught.value.__notes__)
    manifest = json.loads((tmp_path / "run" / "aligntune.json").read_text())
    assert manifest["state"] == "failed"
    assert "NonFiniteLoss" in manifest["error"]
    assert not (tmp_path / "run" / "adapter_model.safetensors").exists()


def test_an_exception_of_a_callback_passes_through_with_a_note(make: Make) -> None:
    from transformers import TrainerCallback

    class Failing(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        make(callbacks=[Failing()]).train()
    assert 'backend "trl" (aligntune-trl' in "".join(caught.value.__notes__)


def test_evaluate_needs_rows_and_takes_raw_ones(make: Make) -> None:
    trainer = make()
    with pytest.raises(RunError, match="nothing to evaluate on"):
        trainer.evaluate()
    found = trainer.evaluate([{"instruction": "Say hi", "input": "", "output": "hi"}])
    assert found["eval_loss"] > 0
    assert found["perplexity"] > 1


def test_a_run_from_its_own_folder_is_refused_before_anything_moves(make: Make, tmp_path: Path) -> None:
    make().train()
    with pytest.raises(RunError, match="Choose another output_dir"):
        create_sft_trainer(
            str(tmp_path / "run"),
            str(tmp_path / "rows.jsonl"),
            "trl",
            output_dir=str(tmp_path / "run"),
            max_steps=1,
        )
    assert (tmp_path / "run" / "adapter_model.safetensors").is_file()


def test_a_continued_adapter_keeps_its_shape_and_the_manifest_says_so(make: Make, tmp_path: Path) -> None:
    make("first", max_steps=1, lora_r=3, lora_alpha=5, lora_target_modules=["q_proj"]).train()
    second = {
        "model_name": str(tmp_path / "first"),
        "dataset_name": str(tmp_path / "rows.jsonl"),
        "algorithm": "sft",
    }
    trainer = create_trainer(
        second | {"output_dir": str(tmp_path / "second"), "max_steps": 1, "backend": "trl"}
    )
    assert trainer.config.peft.r == 3
    trainer.train()
    manifest = json.loads((tmp_path / "second" / "aligntune.json").read_text())["config"]["peft"]
    assert (manifest["r"], manifest["alpha"], manifest["target_modules"]) == (3, 5, ["q_proj"])
    with pytest.raises(ConfigError, match="lora_r"):
        create_trainer(second | {"output_dir": str(tmp_path / "third"), "lora_r": 8, "backend": "trl"})
