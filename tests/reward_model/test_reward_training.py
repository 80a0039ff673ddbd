"""Training a reward model, and what its folder is good for: rewards of PPO and GRPO, in a chain from SFT on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.errors import ConfigError, RunError

pytestmark = pytest.mark.backend

Build = Callable[..., Any]
Rows = list[dict[str, Any]]


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.fixture(scope="module")
def pairs() -> Rows:
    return [
        {
            "prompt": said("user", f"How is day {n}?"),
            "chosen": said("assistant", f"A good day, the sun is out {n % 5} hours"),
            "rejected": said("assistant", f"bad {n % 7}"),
        }
        for n in range(20)
    ]


@pytest.fixture
def build(tiny_model_dir: Path, pairs: Rows, tmp_path: Path) -> Build:
    """``build("reward", folder name, **keywords)``; ``full=True``: no adapter."""
    from aligntune import create_rl_trainer, create_sft_trainer

    def make(algorithm: str = "reward", folder: str = "run", full: bool = False, **keywords: Any) -> Any:
        given: dict[str, Any] = {
            "model_name": str(tiny_model_dir),
            "dataset_name": pairs,
            "backend": "trl",
            "output_dir": str(tmp_path / folder),
            "max_steps": 4,
            "batch_size": 4,
            "learning_rate": 5e-3,
            "lora_r": 4,
            "save_strategy": "no",
        } | keywords
        if full:
            given |= {"use_peft": False, "lora_r": None}
        if algorithm == "sft":
            return create_sft_trainer(**given)
        return create_rl_trainer(algorithm=algorithm, **given)

    return make


def scores(model: Any, rows: Rows) -> list[float]:
    """By the reward of PPO and GRPO: a folder, or the trained model itself."""
    from aligntune_core.rewards import RewardModel

    judge = model if isinstance(model, RewardModel) else RewardModel(str(model))
    return judge.score([row["prompt"] for row in rows], [row["chosen"] for row in rows])


def of_trainer(trainer: Any, rows: Rows) -> list[float]:
    """The scores of the model in training, by plain transformers calls."""
    import torch

    model = trainer.model.eval()
    found = []
    for row in rows:
        text = trainer.tokenizer.apply_chat_template([*row["prompt"], *row["chosen"]], tokenize=False)
        ids = trainer.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            found.append(model(input_ids=ids).logits[0, 0].item())
    return found


@pytest.mark.parametrize(
    ("full", "more"),
    [(False, {}), (True, {}), (False, {"quantization": {"load_in_4bit": True}})],
    ids=["lora", "full", "qlora"],
)
def test_learns_and_its_folder_scores(full: bool, more: dict[str, Any], build: Build, pairs: Rows) -> None:
    trainer = build(full=full, eval_dataset=pairs[:8], max_steps=8, **more)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["reward_accuracy"] == after["eval_accuracy"] == 1.0
    assert after["reward_margin"] > before["reward_margin"] + 0.1
    assert after["eval_loss"] < before["eval_loss"]
    tolerance = 0.05 if more else 1e-5  # the base that scores is not quantised
    assert scores(trainer.output_dir, pairs[:3]) == pytest.approx(
        of_trainer(trainer, pairs[:3]), abs=tolerance
    )


def test_its_folder_is_read_by_plain_libraries(build: Build, pairs: Rows, tiny_model_dir: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification as Classifier

    whole = build("reward", "whole", full=True)
    whole.train()
    plain = Classifier.from_pretrained(whole.output_dir)
    assert (plain.config.num_labels, plain.config.architectures) == (1, ["LlamaForSequenceClassification"])
    adapted = build("reward", "adapted")
    adapted.train()
    read = PeftModel.from_pretrained(
        Classifier.from_pretrained(tiny_model_dir, num_labels=1), adapted.output_dir
    )
    for trainer, model in ((whole, plain), (adapted, read)):
        wanted = of_trainer(trainer, pairs[:2])
        trainer._engine._trainer.model = model
        assert of_trainer(trainer, pairs[:2]) == pytest.approx(wanted, abs=1e-6)


def test_the_loss_is_that_of_pairs(build: Build, pairs: Rows) -> None:
    """-log sigmoid(chosen - rejected), and the pull to zero, on the untrained model."""
    import math

    from aligntune_core.rewards import RewardModel

    trainer = build(full=True, center_rewards_coefficient=0.5, max_steps=1, batch_size=20)
    trainer.save_model(trainer.output_dir / "start")
    trainer.train()
    judge = RewardModel(str(trainer.output_dir / "start"))
    prompts = [row["prompt"] for row in pairs]
    chosen, rejected = (judge.score(prompts, [row[side] for row in pairs]) for side in ("chosen", "rejected"))
    wanted = sum(
        math.log1p(math.exp(r - c)) + 0.5 * (c + r) ** 2 for c, r in zip(chosen, rejected, strict=True)
    )
    [line] = [e for e in trainer.native.state.log_history if "loss" in e]
    assert line["loss"] == pytest.approx(wanted / len(pairs), rel=1e-5)


def test_equals_a_hand_written_script(
    build: Build, pairs: Rows, tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    ours = build(full=True)
    ours.train()
    args = RewardConfig(
        output_dir=str(tmp_path / "theirs"),
        max_steps=4,
        per_device_train_batch_size=4,
        learning_rate=5e-3,
        optim="adamw_torch",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    theirs = RewardTrainer(
        model=str(tiny_model_dir),  # TRL seeds, then draws the head
        args=args,
        train_dataset=Dataset.from_list(pairs),
        processing_class=AutoTokenizer.from_pretrained(tiny_model_dir),
    )
    theirs.train()
    losses = [[e["loss"] for e in t.state.log_history if "loss" in e] for t in (ours.native, theirs)]
    assert losses[0] == losses[1]
    found, wanted = dict(ours.model.named_parameters()), dict(theirs.model.named_parameters())
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_head_follows_the_seed(build: Build) -> None:
    import torch

    heads = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(3)  # whatever was drawn before
        heads.append(build("reward", folder, full=True, seed=seed).model.score.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("merge", [False, True], ids=["continued", "merged"])
def test_starts_from_an_adapter_of_sft(
    merge: bool, build: Build, pairs: Rows, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """The body is the SFT model's, by both ways; the head is fresh."""
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM

    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs]
    build("sft", "sft", dataset_name=rows).train()
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), tmp_path / "sft")
    trainer = build("reward", "rm", model_name=str(tmp_path / "sft"), merge_adapter=merge)
    ids = torch.arange(4, 40).unsqueeze(0)
    body = trainer.model.get_base_model().model.eval()
    with torch.no_grad():
        wanted = tuned.get_base_model().model.eval()(ids).last_hidden_state
        assert torch.allclose(body(ids).last_hidden_state, wanted, atol=1e-5)
    trainer.train()
    base = tmp_path / "rm" / "base" if merge else tiny_model_dir
    assert PeftConfig.from_pretrained(tmp_path / "rm").base_model_name_or_path == str(base)
    assert scores(tmp_path / "rm", pairs[:2]) == pytest.approx(of_trainer(trainer, pairs[:2]), abs=1e-5)


def test_a_reward_model_is_trained_further(build: Build, pairs: Rows, tmp_path: Path) -> None:
    first = build("reward", "first")
    first.train()
    second = build("reward", "second", model_name=str(tmp_path / "first"))
    assert of_trainer(second, pairs[:2]) == pytest.approx(of_trainer(first, pairs[:2]), abs=1e-6)


def test_merged_it_is_a_plain_classifier(build: Build, pairs: Rows) -> None:
    trainer = build()
    trainer.train()
    folder = trainer.save_model(merged=True)
    assert not (Path(folder) / "adapter_config.json").exists()
    assert scores(folder, pairs[:2]) == pytest.approx(of_trainer(trainer, pairs[:2]), abs=1e-5)


def test_what_cannot_work_is_refused(build: Build, pairs: Rows, tiny_model_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    trainer = build()
    with pytest.raises(RunError, match="scores texts and writes none"):
        trainer.generate("Hi")
    trainer.train()
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs]
    with pytest.raises(ConfigError, match=r"this is a classifier .* sft trains a language model"):
        build("sft", "sft", dataset_name=rows, model_name=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="has no head that scores; pass its path"):
        build("reward", "x", model_name=AutoModelForCausalLM.from_pretrained(tiny_model_dir))
    three = AutoModelForSequenceClassification.from_pretrained(tiny_model_dir, num_labels=3)
    with pytest.raises(ConfigError, match="has 3 outputs; a reward model has 1"):
        build("reward", "y", model_name=three)
    with pytest.raises(ConfigError, match="truncation_mode"):
        build("reward", "z", truncation_mode="keep_end")


@pytest.mark.parametrize("online", ["ppo", "grpo"])
def test_the_chain_from_sft_to_reinforcement_learning(
    online: str, build: Build, pairs: Rows, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """Each from the folder of the one before; the last is read with plain peft to the trained logits."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs]
    sft, judge, last = (str(tmp_path / name) for name in ("sft", "judge", "last"))
    build("sft", "sft", dataset_name=rows).train()
    build("reward", "judge", model_name=sft).train()
    asked = [{"prompt": row["prompt"]} for row in pairs]
    more: dict[str, Any] = {"num_generations": 2} if online == "grpo" else {}
    trainer = build(
        online,
        "last",
        model_name=sft,
        dataset_name=asked,
        reward_model_name=judge,
        max_completion_length=6,
        max_steps=2,
        **more,
    )
    ids = torch.arange(4, 40).unsqueeze(0)

    def logits(model: Any) -> Any:
        with torch.no_grad():
            return model.eval()(input_ids=ids, use_cache=False).logits

    start = logits(trainer.model)
    trainer.train()
    trained = logits(trainer.model)
    assert not torch.equal(trained, start)
    reloaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), last)
    assert torch.equal(logits(reloaded), trained)


def test_a_margin_is_in_the_loss(build: Build, pairs: Rows) -> None:
    """One pair, nothing learnt yet: the loss is -log sigmoid(difference - margin)."""
    import math

    losses = {}
    for margin in (0.0, 2.5):
        rows = [{**pairs[0], "margin": margin}]
        trainer = build(
            full=True, folder=f"m{margin}", dataset_name=rows, eval_dataset=rows, disable_dropout=True
        )
        figures = trainer.evaluate()
        losses[margin] = figures["loss"]
        difference = figures["reward_margin"]
        assert figures["loss"] == pytest.approx(math.log1p(math.exp(margin - difference)), rel=1e-3)
    assert losses[2.5] > losses[0.0] + 1
