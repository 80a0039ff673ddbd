"""Loss and figures are means over tokens, pairs or rows: how those are cut into batches changes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.trl.conftest import Build, Rows

pytestmark = pytest.mark.backend

OF_THE_CLOCK = ("runtime", "second", "epoch", "preparation")


def figures(values: dict[str, Any]) -> dict[str, float]:
    """Without what the clock says, and the running total of tokens."""
    return {
        name: value
        for name, value in values.items()
        if not any(word in name for word in (*OF_THE_CLOCK, "num_tokens"))
    }


def by_hand(trainer: Any, rows: Rows) -> tuple[float, float]:
    """Mean loss and accuracy over all tokens of the completions, a row at a time."""
    import torch

    model, tokenizer = trainer.model, trainer.tokenizer
    model.eval()
    total, right, number = 0.0, 0, 0
    for row in rows:
        how = {"tokenize": True, "return_dict": True}
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, **how)["input_ids"]
        ids = tokenizer.apply_chat_template(row["prompt"] + row["completion"], **how)["input_ids"]
        with torch.no_grad():
            logps = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        for place in range(len(prompt), len(ids)):
            total -= float(logps[place - 1, ids[place]])
            right += int(logps[place - 1].argmax()) == ids[place]
            number += 1
    return total / number, right / number


@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_an_evaluation_of_sft_is_a_mean_over_tokens(backend: str, build: Build, sft_rows: Rows) -> None:
    long = [{**row, "completion": [{"role": "assistant", "content": "salt " * 40}]} for row in sft_rows[:1]]
    rows = sft_rows[:6] + long  # the last batch is one long row
    for size in (1, 3, 7):
        trainer = build(
            "sft",
            backend=backend,
            eval_dataset=rows,
            eval_batch_size=size,
            learning_rate=1e-2,
            max_steps=6,
            eval_strategy="steps",
            eval_steps=3,
        )
        trainer.train()
        found = trainer.evaluate()
        loss, accuracy = by_hand(trainer, rows)
        assert found["eval_loss"] == pytest.approx(loss, abs=1e-5)
        assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
        assert found["token_accuracy"] == pytest.approx(accuracy, abs=1e-6)
        during = [
            json.loads(line) for line in (trainer.output_dir / "metrics.jsonl").read_text().splitlines()
        ]
        last = [line["eval_loss"] for line in during if "eval_loss" in line and line["step"] == 6]
        assert last == [pytest.approx(loss, abs=1e-5)] * len(last)
        assert len(last) >= 2


def test_packed_and_padding_free_rows_count_by_their_tokens(build: Build, sft_rows: Rows) -> None:
    for keywords in ({"packing": True, "max_seq_length": 64}, {"packing": True, "max_seq_length": 256}):
        trainer = build("sft", eval_dataset=sft_rows[:7], eval_batch_size=2, learning_rate=1e-2, **keywords)
        trainer.train()
        assert trainer.evaluate()["eval_loss"] == pytest.approx(by_hand(trainer, sft_rows[:7])[0], abs=1e-5)


@pytest.mark.parametrize("algorithm", ["dpo", "reward", "kto"])
def test_an_evaluation_of_preferences_is_a_mean_over_pairs(
    algorithm: str, build: Build, dpo_rows: Rows
) -> None:
    keywords = {"loss_type": "apo_zero_unpaired"} if algorithm == "kto" else {}
    trainer = build(algorithm, max_steps=6, learning_rate=1e-2, **keywords)
    trainer.train()
    found = []
    for size in (1, 3, 7):
        trainer.native.args.per_device_eval_batch_size = size
        found.append(figures(trainer.evaluate(dpo_rows[:7])))
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)
    assert len(found[0]) > 8


def one_step(build: Build, algorithm: str, rows: Rows, size: int, steps: int, **keywords: Any) -> Any:
    """The line of a run's one optimiser step, and how far each weight has moved."""
    import torch

    torch.manual_seed(0)
    trainer = build(
        algorithm,
        dataset_name=rows,
        batch_size=size,
        gradient_accumulation_steps=steps,
        max_steps=1,
        lr_scheduler="constant",
        max_grad_norm=0,
        **keywords,
    )
    trainer.train()
    line = json.loads((trainer.output_dir / "metrics.jsonl").read_text().splitlines()[0])
    return figures(line)


@pytest.mark.parametrize(
    ("backend", "algorithm", "keywords"),
    [
        ("trl", "dpo", {}),
        ("trl", "dpo", {"loss_type": ["sigmoid", "ipo"], "loss_weights": [1.0, 0.5]}),
        ("torch", "dpo", {}),
        ("trl", "reward", {"center_rewards_coefficient": 0.1}),
        ("trl", "kto", {"loss_type": "apo_zero_unpaired"}),
        ("trl", "sft", {}),
        ("torch", "sft", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "plain",
)
def test_an_uneven_step_is_one_batch(
    backend: str, algorithm: str, keywords: dict[str, Any], build: Build, sft_rows: Rows, dpo_rows: Rows
) -> None:
    """Loss, gradient and figures of 5 rows do not depend on how they are cut."""
    rows = (sft_rows if algorithm == "sft" else dpo_rows)[3:8]
    number = 10 if algorithm == "kto" else 5  # each pair is two rows
    wanted = one_step(build, algorithm, rows, number, 1, backend=backend, **keywords)
    for size, steps in ((4, 3), (3, 4), (1, number)):
        found = one_step(build, algorithm, rows, size, steps, backend=backend, **keywords)
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5), (size, steps)
    assert wanted["grad_norm"] > 0


def test_figures_between_two_logs_count_by_pairs(build: Build, dpo_rows: Rows, tmp_path: Path) -> None:
    """5 pairs in steps of 4 and 1: their figures are logged together, once."""
    trainer = build(
        "dpo", dataset_name=dpo_rows[:5], max_steps=2, logging_steps=2, learning_rate=1e-12, batch_size=4
    )
    trainer.train()
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    trainer.native.args.per_device_eval_batch_size = 5
    whole = trainer.evaluate(dpo_rows[:5])
    for name in ("logps/chosen", "logps/rejected", "logits/chosen", "entropy"):
        assert line[name] == pytest.approx(whole[f"eval_{name}"], rel=1e-5), name
