"""A Llama of a few thousand weights over a vocabulary of words, and a PPO trainer on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WORDS = ("<pad>", "<s>", "</s>", "the", "cat", "dog", "sat", "ran", "up", "down", "yes", "no")
PROMPTS = ("the cat", "the dog sat", "dog", "the cat ran up", "cat sat down", "the dog ran", "up", "cat")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring at this size, and sums in one order can be compared bit for bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def words() -> Any:
    """A tokenizer of one token a word, with <pad>, <s> and </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="left"
    )


@pytest.fixture
def llama() -> Callable[..., Any]:
    """Builds a tiny Llama: ``llama(seed=0, cls="LlamaForCausalLM", **config)``."""

    def build(seed: int = 0, cls: str = "LlamaForCausalLM", **more: Any) -> Any:
        import torch
        import transformers

        torch.manual_seed(seed)
        config = transformers.LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.2,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            **more,
        )
        return getattr(transformers, cls)(config)

    return build


@pytest.fixture
def lora() -> Callable[[Any], Any]:
    """Wraps a model in a fresh LoRA adapter."""

    def wrap(model: Any, **more: Any) -> Any:
        from peft import LoraConfig, get_peft_model

        return get_peft_model(
            model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **more)
        )

    return wrap


def share_of_yes(prompts: list[str], completions: list[str], columns: dict[str, list[Any]]) -> list[float]:
    """Share of the word "yes" among the words of a completion."""
    return [text.split().count("yes") / max(len(text.split()), 1) for text in completions]


@pytest.fixture
def ppo(
    tmp_path: Path, words: Any, llama: Callable[..., Any], lora: Callable[[Any], Any]
) -> Callable[..., Any]:
    """Builds a PPOTrainer on the tiny model: ``ppo(adapter=True, score=..., rows=..., **arguments)``."""

    def build(
        adapter: bool = True, score: Any = share_of_yes, rows: Any = None, model: Any = None, **arguments: Any
    ) -> Any:
        import copy

        from datasets import Dataset

        from aligntune_trl.algorithms.ppo import PPOConfig, PPOTrainer

        parts = {name: arguments.pop(name) for name in EXTRA if name in arguments}
        settings = {
            "output_dir": str(tmp_path / "run"),
            "use_cpu": True,
            "per_device_train_batch_size": 4,
            "max_completion_length": 6,
            "temperature": 1.0,
            "max_steps": 2,
            "save_strategy": "no",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            **arguments,
        }
        if model is None:
            model = lora(llama()) if adapter else llama()
        if not hasattr(model, "peft_config"):
            parts.setdefault("ref_model", copy.deepcopy(model))
        return PPOTrainer(
            model=model,
            args=PPOConfig(**settings),
            processing_class=words,
            train_dataset=Dataset.from_list(rows or [{"prompt": text} for text in PROMPTS]),
            score=score,
            **parts,
        )

    return build


EXTRA = ("ref_model", "value_model", "eval_dataset", "on_completions", "callbacks")


@pytest.fixture
def logged() -> Callable[[Any], list[dict[str, float]]]:
    """The lines of a trainer's log that belong to updates."""
    return lambda trainer: [line for line in trainer.state.log_history if "loss" in line]


@pytest.fixture
def weights_of() -> Callable[[Any], dict[str, Any]]:
    """A copy of a model's weights by name."""
    return lambda model: {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture
def logprobs_of() -> Callable[[Any, Any], Any]:
    """``logprobs_of(model, trainer)``: of two fixed completions, one ended and one cut off."""

    def judged(model: Any, trainer: Any) -> Any:
        import torch

        from aligntune_trl.algorithms.ppo.value_head import completion_logprobs

        ids, mask = trainer.sampler.encode(["the cat", "dog"], torch.device("cpu"))
        drawn = [torch.tensor([10, 4, 2]), torch.tensor([7, 8, 9])]
        with torch.no_grad():
            return completion_logprobs(
                model.eval(), trainer.sampler.complete(ids, mask, drawn).sequences, 1.0
            )

    return judged
