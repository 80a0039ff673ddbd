"""Reward models: what text they read, their scores against transformers' own, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config.schema.sections import RewardsConfig
from aligntune_core.errors import ConfigError
from aligntune_core.rewards import RewardModel, RewardSet, build_rewards

Make = Callable[..., Any]

PROMPT = [{"role": "user", "content": "what so ?"}]
SAID = [[{"role": "assistant", "content": c}] for c in ("good", "bad bad bad so good", "so")]
# As the tokenizer of the fixtures reads the first of them.
RENDERED = "user : what so ? . assistant : good . "


def scored(folder: Any, *more: Any, **params: Any) -> list[float]:
    return RewardModel(str(folder), **params).score(*more)


def logit(folder: Path, text: str, **kwargs: Any) -> float:
    """transformers' own way, one text at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return float(
            model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False, **kwargs)).logits[0, 0]
        )


def test_a_conversation_is_rendered_by_the_models_own_template(reward_model: Path) -> None:
    values = scored(reward_model, [PROMPT] * 3, SAID)
    assert values[0] == pytest.approx(logit(reward_model, RENDERED, add_special_tokens=False), abs=1e-6)
    assert scored(reward_model, [PROMPT] * 3, ["good", "bad bad bad so good", "so"]) == values


def test_scores_do_not_depend_on_the_batch_and_keep_their_order(reward_model: Path) -> None:
    judge = RewardModel(str(reward_model), batch_size=1)
    alone = [judge.score([PROMPT], [said])[0] for said in SAID]
    assert len(set(alone)) == 3
    for judge.batch_size in (1, 2, 3, 8):
        assert judge.score([PROMPT] * 3, SAID) == pytest.approx(alone, abs=1e-5)


def test_plain_text_is_joined_and_closed(reward_model: Path) -> None:
    [value] = scored(reward_model, ["what ? "], ["good so"])
    assert value == pytest.approx(logit(reward_model, "what ? good so </s>"), abs=1e-6)


@pytest.mark.backend
def test_text_is_read_as_trls_reward_trainer_reads_it(reward_model: Path, tmp_path: Path) -> None:
    """The token ids that RewardTrainer trains on are those that are scored."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    judge = RewardModel(str(reward_model))
    judge.load()
    for prompt, good, bad in (("what ? ", "good", "bad"), (PROMPT, SAID[0], SAID[1])):
        trainer = RewardTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(reward_model),
            args=RewardConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[]),
            train_dataset=Dataset.from_list([{"prompt": prompt, "chosen": good, "rejected": bad}]),
            processing_class=tokenizer,
        )
        text, special = judge.render(prompt, good)
        row = next(iter(trainer.train_dataset))
        assert judge.tokenizer(text, add_special_tokens=special)["input_ids"] == row["chosen_ids"]


def test_without_a_template_messages_are_joined(make_classifier: Make, tmp_path: Path, caplog: Any) -> None:
    folder = make_classifier(tmp_path / "plain", template=None)
    [value] = scored(folder, [PROMPT], [SAID[0]])
    assert value == pytest.approx(logit(folder, "what so ?\ngood </s>"), abs=1e-6)
    assert "has no chat template" in caplog.text


def test_a_long_text_loses_its_beginning(reward_model: Path) -> None:
    [value] = scored(reward_model, ["bad " * 100], ["so good"])
    assert value == pytest.approx(logit(reward_model, "bad " * 61 + "so good </s>"), abs=1e-6)
    [value] = scored(reward_model, ["bad " * 100], ["so good"], max_length=4)
    assert value == pytest.approx(logit(reward_model, "bad so good </s>"), abs=1e-6)


def test_a_model_without_a_padding_token_scores_batches(
    make_classifier: Make, make_tokenizer: Make, tmp_path: Path
) -> None:
    folder = make_classifier(tmp_path / "nopad", pad_token_id=None)
    make_tokenizer(eos_token="</s>").save_pretrained(folder)
    judge = RewardModel(str(folder))
    values = judge.score([PROMPT] * 3, SAID)
    assert values == pytest.approx([judge.score([PROMPT], [said])[0] for said in SAID], abs=1e-5)
    assert len(set(values)) == 3


def test_beside_functions_with_weights(reward_model: Path) -> None:
    def sevens(text: str) -> float:
        return 7.0

    entry = {"type": "reward_model", "params": {"model": str(reward_model), "batch_size": 2}, "weight": 0.5}
    expected = scored(reward_model, [PROMPT] * 3, SAID)
    for config in (
        RewardsConfig(functions=[sevens], model=str(reward_model), weights=[2.0, 0.5]),
        RewardsConfig(functions=[(sevens, 2), entry]),
        RewardsConfig(functions=[sevens, str(reward_model)], weights=[2.0, 0.5]),
        RewardsConfig(functions=[sevens, RewardModel(str(reward_model))], weights=[2.0, 0.5]),
    ):
        found: RewardSet = build_rewards(config)
        assert found.names[0] == "sevens"
        found.load()
        scores = found.score([PROMPT] * 3, SAID)
        assert scores.values[1] == pytest.approx(expected)
        assert scores.total == pytest.approx([14 + 0.5 * v for v in scores.values[1]])


def test_a_model_in_memory(reward_model: Path, make_tokenizer: Make) -> None:
    from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(reward_model)
    expected = scored(reward_model, [PROMPT] * 3, SAID)
    assert RewardModel(model).score([PROMPT] * 3, SAID) == pytest.approx(expected)
    assert build_rewards(RewardsConfig(model=model)).score([PROMPT] * 3, SAID).total == pytest.approx(
        expected
    )
    nameless = LlamaForSequenceClassification(model.config)
    nameless.load_state_dict(model.state_dict())
    nameless.config._name_or_path = ""
    with pytest.raises(ConfigError, match="tokenizer of a reward model in memory is not known"):
        RewardModel(nameless).load()
    assert RewardModel(nameless, make_tokenizer()).score([PROMPT] * 3, SAID) == pytest.approx(expected)


@pytest.fixture
def adapter(make_classifier: Make, tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    """A causal model and a LoRA adapter for sequence classification on it, its head saved or not."""

    def build(with_head: bool) -> tuple[Any, Path]:
        import torch
        from peft import LoraConfig, TaskType, get_peft_model
        from transformers import AutoModelForSequenceClassification

        base = make_classifier(tmp_path / "base", cls="LlamaForCausalLM", num_labels=2)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
        task = TaskType.SEQ_CLS if with_head else TaskType.FEATURE_EXTRACTION
        model = get_peft_model(
            model,
            LoraConfig(task_type=task, r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
        )
        model.save_pretrained(tmp_path / "adapter")
        return model.eval(), tmp_path / "adapter"

    return build


def test_an_adapter_folder_with_its_head(
    adapter: Callable[..., tuple[Any, Path]], make_tokenizer: Make
) -> None:
    import torch

    model, folder = adapter(with_head=True)
    [value] = scored(folder, [PROMPT], [SAID[0]])
    inputs = make_tokenizer()(
        RENDERED, add_special_tokens=False, return_tensors="pt", return_token_type_ids=False
    )
    with torch.no_grad():
        assert value == pytest.approx(float(model(**inputs).logits[0, 0]), abs=1e-5)


def test_an_adapter_without_a_head_is_refused(adapter: Callable[..., tuple[Any, Path]]) -> None:
    _, folder = adapter(with_head=False)
    with pytest.raises(
        ConfigError, match=r"neither this adapter nor its base has trained weights for score\.weight"
    ):
        RewardModel(str(folder)).load()


def test_what_is_no_reward_model_is_refused(make_classifier: Make, tmp_path: Path) -> None:
    three = make_classifier(tmp_path / "three", num_labels=3)
    with pytest.raises(
        ConfigError, match=r"its head has 3 outputs \(the checkpoint was made for LlamaForSequenceClass"
    ):
        RewardModel(str(three)).load()
    policy = make_classifier(tmp_path / "policy", cls="LlamaForCausalLM", num_labels=2)
    with pytest.raises(
        ConfigError, match=r"2 outputs \(the checkpoint was made for LlamaForCausalLM\), a reward has 1"
    ):
        RewardModel(str(policy)).load()
    headless = make_classifier(tmp_path / "headless", cls="LlamaForCausalLM", num_labels=1)
    with pytest.raises(ConfigError, match=r"its checkpoint lacks score\.weight.*algorithm=\"reward\""):
        RewardModel(str(headless)).load()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere") as caught:
        build_rewards(RewardsConfig(model=str(tmp_path / "nowhere"))).load()
    assert 'reward "nowhere" could not be loaded' in caught.value.__notes__[0]


def test_weights_that_are_not_finite_are_named(make_classifier: Make, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = make_classifier(tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"] = torch.full_like(weights["score.weight"], float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="reward \"broken\" gave float 'nan' for sample 0"):
        build_rewards(RewardsConfig(model=str(folder))).score([PROMPT], [SAID[0]])
