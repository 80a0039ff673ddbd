"""What ends a reply, and tokens that the model has no row for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aligntune import create_rl_trainer, create_sft_trainer
from aligntune_core.config import resolve_config
from aligntune_core.data.ends import agree
from aligntune_core.errors import ConfigError, DataError
from aligntune_core.model.tokenizer import check_padding, load_tokenizer
from aligntune_core.testing.tiny import CHAT_TEMPLATE, make_config, make_tokenizer

NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
ROWS = [{"prompt": "Name the capital", "completion": "Paris"}] * 8


def with_other_end() -> Any:
    """A tokenizer whose template ends turns with <|im_end|>, as Qwen's base models have it."""
    tokenizer = make_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    return tokenizer


def test_the_mark_after_a_reply_becomes_the_end() -> None:
    tokenizer = with_other_end()
    ending = agree(tokenizer, None)
    assert tokenizer.eos_token == "<|im_end|>"
    assert "Replies end with <|im_end|>" in ending.sentence
    assert not ending.warning
    assert agree(tokenizer, None).sentence == ""


def test_a_chosen_end_stays() -> None:
    tokenizer = with_other_end()
    ending = agree(tokenizer, "<|endoftext|>")
    assert tokenizer.eos_token == "<|endoftext|>"
    assert ending.warning


@pytest.mark.parametrize("template", [NO_END, CHAT_TEMPLATE.replace("<|im_end|>", "</turn>")])
def test_a_template_without_an_end_is_a_warning(prepare: Any, template: str) -> None:
    tokenizer = make_tokenizer(template)
    report = prepare(ROWS, tokenizer=tokenizer).report
    assert any("does not stop by itself" in sentence for sentence in report.warnings)
    assert tokenizer.eos_token == "<|im_end|>"


def test_plain_text_keeps_the_tokenizers_end(prepare: Any) -> None:
    tokenizer = with_other_end()
    prepare([{"text": "a story"}], tokenizer=tokenizer)
    assert tokenizer.eos_token == "<|endoftext|>"


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that stops at <|endoftext|>, while its template ends turns with <|im_end|>."""
    from transformers import GenerationConfig, LlamaForCausalLM, set_seed

    tokenizer = with_other_end()
    set_seed(0)
    model = LlamaForCausalLM(make_config(tokenizer, eos_token_id=tokenizer.eos_token_id))
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    folder = tmp_path_factory.mktemp("ends") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.backend
@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_a_trained_model_stops_and_what_is_saved_does(base_model: Path, tmp_path: Path, backend: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer = create_sft_trainer(
        model_name=str(base_model),
        dataset_name=ROWS,
        backend=backend,
        max_steps=40,
        batch_size=8,
        use_peft=False,
        learning_rate=5e-3,
        output_dir=str(tmp_path / "run"),
        save_strategy="no",
    )
    trainer.train()
    assert trainer.generate("Name the capital", max_new_tokens=20) == ["Paris"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Name the capital"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**ids, max_new_tokens=20, do_sample=False)[0][ids["input_ids"].shape[1] :]
    assert tokenizer.decode(out) == "Paris<|im_end|>"


# --- tokens that the model has no row for ----------------------------------------------------------------------------


def larger(special: bool) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<tool>"], special_tokens=special)
    return tokenizer


@pytest.mark.backend
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("backend", ["trl", "torch"])
def test_a_row_with_a_token_beyond_the_embedding_is_named(
    tiny_model_dir: Path, tmp_path: Path, backend: str, special: bool
) -> None:
    rows = [{"prompt": "Say", "completion": "Paris"}] * 3 + [{"prompt": "Say", "completion": "<tool> Paris"}]
    call: dict[str, Any] = {
        "model_name": str(tiny_model_dir),
        "tokenizer_name": larger(special),
        "backend": backend,
        "max_steps": 1,
        "output_dir": str(tmp_path / "run"),
    }
    with pytest.raises(
        DataError, match=r'row 3: column "completion": <tool> is token \d+ of a tokenizer with'
    ):
        create_sft_trainer(dataset_name=rows, **call)
    pairs = [{"prompt": "Say", "chosen": "Paris", "rejected": "<tool>"}]
    with pytest.raises(DataError, match='row 0: column "rejected": <tool> is token'):
        create_rl_trainer(algorithm="dpo", dataset_name=pairs, **call)
    create_sft_trainer(dataset_name=rows[:3], **{**call, "batch_size": 1})


@pytest.mark.backend
def test_a_token_of_the_template_counts_for_every_row(tiny_model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 0: .*<tool> is token"):
        create_sft_trainer(
            model_name=str(tiny_model_dir),
            tokenizer_name=larger(True),
            chat_template="<tool>" + CHAT_TEMPLATE,
            dataset_name=ROWS,
            backend="trl",
            max_steps=1,
            output_dir=str(tmp_path / "run"),
        )


def test_the_padding_token_has_a_row() -> None:
    tokenizer = larger(True)
    tokenizer.pad_token = "<tool>"
    with pytest.raises(ConfigError, match="padding token <tool> is token"):
        check_padding(tokenizer, len(tokenizer) - 1)
    check_padding(tokenizer, len(tokenizer))
    tokenizer.pad_token = None
    check_padding(tokenizer, None)
    assert tokenizer.pad_token == tokenizer.eos_token


def test_tokens_by_name(tiny_model_dir: Path) -> None:
    def model(**keywords: Any) -> Any:
        return resolve_config("sft", model_name=str(tiny_model_dir), dataset_name="rows", **keywords).model

    chosen = load_tokenizer(model(eos_token="<|endoftext|>", pad_token="<|im_end|>"))
    assert (chosen.eos_token, chosen.pad_token) == ("<|endoftext|>", "<|im_end|>")
    with pytest.raises(ConfigError, match=r"model.eos_token='<.eot.>' is no token of the tokenizer"):
        load_tokenizer(model(eos_token="<|eot|>"))


def test_ids_beyond_the_embedding_are_a_problem_whatever_the_token() -> None:
    from aligntune_core.data.vocabulary import within
    from aligntune_core.types import RowTokens

    tokenizer = make_tokenizer()
    row: dict[str, Any] = {"prompt": [], "completion": []}
    answers = [RowTokens(length=2, columns={"input_ids": [5, 9], "labels": [-100, 9]})]
    assert within([row], answers, tokenizer, 10) == answers
    assert "token 9, and the model's embedding has 9 rows" in within([row], answers, tokenizer, 9)[0].problem
