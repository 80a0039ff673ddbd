"""A converted configuration as YAML for people to read on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aligntune_core.config import keywords as kw
from aligntune_core.version import __version__

if TYPE_CHECKING:
    from aligntune.conversion.draft import Draft

# A text that YAML reads as itself, without quotes.
_PLAIN = re.compile(r"[A-Za-z_/.~][\w/.~@-]*( ?[\w/.~@-]+)*")
_WORDS = frozenset(
    {"true", "false", "null", "yes", "no", "on", "off", "~", "y", "n", "nan", "inf", ".nan", ".inf"}
)


def text_of(config: Mapping[str, Any], draft: Draft, title: str, missing: Sequence[str]) -> str:
    """The YAML file: settings in the order of the reference, then, as comments, what is left out."""
    head = f"# Converted from {draft.source.path.name} ({title}) by aligntune {__version__}."
    lines = [head, *(_setting(k, v, _comment(k, draft, missing)) for k, v in _ordered(config))]
    lines += [f"# {keyword}:  # fill in" for keyword in missing if keyword not in config]
    if draft.left_out:
        lines += ["", "# Left out:", *(_commented(str(line)) for line in draft.left_out)]
    if draft.remarks:
        lines += ["", "# To look at:", *(_commented(str(line)) for line in draft.remarks)]
    return "\n".join(lines) + "\n"


def _ordered(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    order = [name for name in dict.fromkeys(entry.keyword for entry in kw.flat().values()) if name in config]
    yield from ((name, config[name]) for name in order)
    yield from ((name, value) for name, value in config.items() if name not in order)


# What the same name counts here.
_COUNTED = {"gradient_accumulation_steps": "of all processes together: multiply by how many you start"}


def _comment(keyword: str, draft: Draft, missing: Sequence[str]) -> str:
    if keyword in missing:
        return "fill in"
    origin = draft.origins.get(keyword, "")
    parts = ["" if origin in (keyword, "command line") else origin, _COUNTED.get(keyword, "")]
    return "; ".join(filter(None, parts))


def _setting(keyword: str, value: Any, comment: str) -> str:
    tail = f"  # {comment}" if comment else ""
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
        return "\n".join([f"{keyword}:{tail}", *(f"  - {scalar(item)}" for item in value)])
    return f"{keyword}: {scalar(value)}{tail}"


def scalar(value: Any) -> str:
    """A value as YAML on one line, which is JSON but for plain words."""
    if isinstance(value, str):
        text = value.replace("${", "$${")  # which is how ours writes the text itself
        return (
            text
            if _PLAIN.fullmatch(text) and text.lower() not in _WORDS
            else json.dumps(text, ensure_ascii=False)
        )
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(k))}: {scalar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(scalar(item) for item in value) + "]"
    return json.dumps(value, default=str)


def _commented(text: str) -> str:
    return "# - " + " ".join(text.split())
