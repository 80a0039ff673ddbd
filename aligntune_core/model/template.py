"""Chat templates: given as Jinja text, by name or as a file, and with values set for what they read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aligntune_core.errors import ConfigError
from aligntune_core.wording import did_you_mean, listed

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TRAINING = "_training"
_OWN = {"chatml": CHATML}


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Path]:
    """Name -> file of the templates that the installed TRL ships; found without importing it. Empty without TRL."""
    spec = find_spec("trl")
    folders = spec.submodule_search_locations if spec is not None else None
    files = (path for folder in folders or () for path in Path(folder, "chat_templates").glob("*.jinja"))
    return {path.stem: path for path in sorted(files)}


def template_text(value: str) -> str:
    """The Jinja text that ``model.chat_template`` means: itself, the template of that name, or a file's content.

    Raises:
        ConfigError: neither a template, a name nor a file; or Jinja cannot read it.
    """
    text = value
    if "{" not in value:
        name = value.strip().lower().replace("-", "_").replace(".", "_")
        names = [*_OWN, *(name for name in shipped() if not name.endswith(TRAINING))]
        path = Path(value).expanduser()
        if name in _OWN:
            text = _OWN[name]
        elif name in names:
            text = shipped()[name].read_text(encoding="utf-8")
        elif path.is_file():
            text = path.read_text(encoding="utf-8")
        else:
            raise ConfigError(
                f"model.chat_template={value!r} is no Jinja template, no file and no name."
                f"{did_you_mean(name, names)} Names: {listed(names)}."
            )
    _check(text)
    return text


def with_values(template: str, values: Mapping[str, Any]) -> str:
    """A template that reads these values where a call gives no others: ``model.chat_template_kwargs``.

    They become part of the template, so every library renders with them, generation too, and they are saved with it.

    Raises:
        ConfigError: the template reads no such name.
    """
    names = _names_read(template)
    lines = []
    for name, value in values.items():
        if name not in names:
            raise ConfigError(
                f"model.chat_template_kwargs: the chat template reads no {name!r}.{did_you_mean(name, names)} "
                f"It reads: {listed(sorted(names))}."
            )
        literal = _literal(value, name)
        line = f"{{%- if {name} is not defined %}}{{%- set {name} = {literal} %}}{{%- endif %}}"
        if line not in template:
            lines.append(line)
    return "".join(lines) + template


def _literal(value: Any, name: str) -> str:
    try:
        text = json.dumps(value)
    except TypeError as error:
        raise ConfigError(f"model.chat_template_kwargs: {name}={value!r} is no plain value") from error
    return {"true": "true", "false": "false", "null": "none"}.get(text, text)


def _names_read(template: str) -> set[str]:
    """The names that a call of the template may set."""
    from jinja2 import TemplateSyntaxError, meta

    # ``generation`` is transformers' own tag, which Jinja does not know.
    text = template.replace("endgeneration", "endif").replace("{% generation", "{% if 1")
    text = text.replace("{%- generation", "{%- if 1")
    try:
        return meta.find_undeclared_variables(_environment().parse(text)) - {
            "messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "pad_token",
            "unk_token", "raise_exception", "strftime_now",
        }  # fmt: skip
    except TemplateSyntaxError as error:
        raise ConfigError(f"model.chat_template, line {error.lineno}: {error.message}") from error


def _environment() -> Any:
    from jinja2 import Environment

    return Environment(extensions=["jinja2.ext.loopcontrols"])


def _check(template: str) -> None:
    from jinja2 import TemplateSyntaxError

    try:
        _environment().parse(template)
    except TemplateSyntaxError as error:
        # transformers' own "generation" block is no Jinja tag; the tokenizer knows it.
        if "generation" not in str(error.message):
            raise ConfigError(f"model.chat_template, line {error.lineno}: {error.message}") from error
