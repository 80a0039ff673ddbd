"""The chat template of a run: by name, as a file, with values set for what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aligntune_core.config import resolve_config
from aligntune_core.errors import ConfigError
from aligntune_core.model.template import template_text, with_values
from aligntune_core.model.tokenizer import load_tokenizer
from aligntune_core.testing.tiny import CHAT_TEMPLATE

TALK = [{"role": "user", "content": "hi"}]
THINKS = "{% if enable_thinking is defined and enable_thinking is false %}quick:{% endif %}" + CHAT_TEMPLATE


def tokenizer_of(folder: Path, **keywords: Any) -> Any:
    config = resolve_config("sft", model_name=str(folder), dataset_name="rows", **keywords)
    return load_tokenizer(config.model)


def test_by_name(tiny_model_dir: Path) -> None:
    named = tokenizer_of(tiny_model_dir, chat_template="chatml")
    assert named.apply_chat_template(TALK, tokenize=False).startswith("<|im_start|>user\nhi")
    trl = pytest.importorskip("trl")
    file = Path(trl.__file__).with_name("chat_templates") / "qwen2_5.jinja"
    assert template_text("Qwen2.5") == file.read_text(encoding="utf-8")
    assert template_text(str(file)) == file.read_text(encoding="utf-8")


def test_a_name_that_is_none(tiny_model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r'no file and no name. Did you mean "chatml"\?'):
        tokenizer_of(tiny_model_dir, chat_template="chatlm")


def test_values_are_read_by_every_rendering_and_saved(tiny_model_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = tokenizer_of(
        tiny_model_dir, chat_template=THINKS, chat_template_kwargs={"enable_thinking": False}
    )
    assert tokenizer.apply_chat_template(TALK, tokenize=False).startswith("quick:")
    asked = tokenizer.apply_chat_template(TALK, tokenize=False, enable_thinking=True)
    assert asked.startswith("<|im_start|>")
    tokenizer.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert saved.apply_chat_template(TALK, tokenize=False).startswith("quick:")


def test_values_set_twice_are_there_once() -> None:
    once = with_values(THINKS, {"enable_thinking": False})
    assert with_values(once, {"enable_thinking": False}) == once


@pytest.mark.parametrize(("value", "text"), [(True, "True"), (None, "None"), ("a'b", "a'b"), (3, "3")])
def test_values_of_every_plain_kind(tiny_model_dir: Path, value: Any, text: str) -> None:
    template = "{{ tone }}|" + CHAT_TEMPLATE
    tokenizer = tokenizer_of(tiny_model_dir, chat_template=template, chat_template_kwargs={"tone": value})
    assert tokenizer.apply_chat_template(TALK, tokenize=False).split("|")[0] == text


def test_a_value_that_the_template_does_not_read(tiny_model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"reads no 'enable_thinkin'. Did you mean \"enable_thinking\""):
        tokenizer_of(tiny_model_dir, chat_template=THINKS, chat_template_kwargs={"enable_thinkin": False})
    with pytest.raises(ConfigError, match="It reads: none"):
        tokenizer_of(tiny_model_dir, chat_template=CHAT_TEMPLATE, chat_template_kwargs={"x": 1})
    generation = THINKS + "{% generation %}{% endgeneration %}"
    assert "quick" in with_values(generation, {"enable_thinking": False})
