"""The same settings in a hand-written TRL script give the same losses and weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.grpo.conftest import Build, Look, Rows

pytestmark = pytest.mark.backend

FAMILY: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "gspo": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon": 3e-4,
        "epsilon_high": 4e-4,
        "steps_per_generation": 8,
    },
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": False},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28, "mask_truncated_completions": True},
}


def by_hand(
    algorithm: str, model_dir: Path, rows: Rows, output: Path, lora: bool, reward: Any, **more: Any
) -> Any:
    """What a user of TRL would write."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import GRPOConfig, GRPOTrainer

    set_seed(42)
    args = GRPOConfig(
        output_dir=str(output),
        max_steps=4,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_generations=4,
        max_completion_length=8,
        learning_rate=1e-3,
        optim="adamw_torch",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **FAMILY[algorithm],
        **more,
    )
    adapter = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    made = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir),
        reward_funcs=[reward],
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model_dir),
        peft_config=adapter if lora else None,
    )
    made.train()
    return made


@pytest.mark.parametrize(
    ("algorithm", "lora", "more"),
    [
        ("grpo", True, {}),
        ("grpo", False, {"beta": 0.04, "num_iterations": 2}),
        ("gspo", True, {}),
        ("dr_grpo", False, {}),
        ("dapo", True, {}),
    ],
)
def test_equals_a_hand_written_script(
    algorithm: str,
    lora: bool,
    more: dict[str, Any],
    build: Build,
    look: type[Look],
    prompts: Rows,
    differing: Any,
    ending: Any,
    tiny_model_dir: Path,
    tmp_path: Path,
) -> None:
    import torch

    more = more | {"generation_kwargs": ending}
    ours = build(
        algorithm,
        full=not lora,
        max_steps=4,
        batch_size=4,
        gradient_accumulation_steps=2,
        **more,
        **({"overlong_punishment": 0} if algorithm == "dapo" else {}),
    )
    ours.train()
    theirs = by_hand(algorithm, tiny_model_dir, prompts, tmp_path / "theirs", lora, differing, **more)
    assert look.losses(ours.native) == look.losses(theirs)
    assert len(set(look.losses(theirs))) == 4
    found, wanted = look.weights(ours.model), look.weights(theirs.model)
    assert set(found) == set(wanted)
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def test_equals_it_with_fixed_completions(
    build: Build,
    look: type[Look],
    prompts: Rows,
    differing: Any,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from trl import GRPOTrainer

    def fixed(self: Any, prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        return [
            [40 + (7 * row + sum(ids)) % 90] * (2 + row % 4) + [3] for row, ids in enumerate(prompt_ids)
        ], None

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", fixed)
    more = {"num_iterations": 2, "beta": 0.1}
    ours = build("grpo", max_steps=4, batch_size=4, gradient_accumulation_steps=2, **more)
    ours.train()
    theirs = by_hand("grpo", tiny_model_dir, prompts, tmp_path / "theirs", True, differing, **more)
    assert look.losses(ours.native) == pytest.approx(look.losses(theirs), abs=1e-6)
    assert max(map(abs, look.losses(theirs))) > 1e-3
