"""How a keyword of another library says what a field of ours says; the tables themselves are in ``peers``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aligntune_core.algorithms import Algorithm, find
from aligntune_core.config import keywords as kw
from aligntune_core.config.values import equal
from aligntune_core.errors import ConfigError
from aligntune_core.wording import did_you_mean

Settings = list[tuple[str, Any]]
"""Config path and value; an empty list where the value asks for nothing, or for what happens anyway."""

VLLM_OPTIONS = f"{kw.PARAMETERS}.vllm_options"


@dataclass(frozen=True)
class Context:
    """What a translation may look at: the algorithm, and a keyword's value anywhere in the call, or None."""

    algorithm: Algorithm
    peek: Callable[[str], Any]


Translation = Callable[[Any, Context], Settings]


class Refused(ValueError):
    """A keyword that cannot be translated; the text ends the sentence "NAME=VALUE ..."."""


def same(path: str) -> Translation:
    """Another name of the field at ``path``."""
    return lambda value, _: [(path, value)]


def parameter(name: str) -> Translation:
    """Another name of a parameter that some algorithms have; each may know it by an alias."""

    def translate(value: Any, context: Context) -> Settings:
        entry = kw.parameter_names(context.algorithm.parameters).get(name)
        return [(entry.path if entry else f"{kw.PARAMETERS}.{name}", value)]

    return translate


def switch(path: str, on: Any) -> Translation:
    """A boolean that stands for one value of ``path``; False asks for nothing."""

    def translate(value: Any, _: Context) -> Settings:
        if not isinstance(value, bool):
            raise Refused("must be true or false")
        return [(path, on)] if value else []

    return translate


def choice(choices: Mapping[str, Settings], otherwise: str) -> Translation:
    """A word or number that stands for settings of ours; others are not offered, and ``otherwise`` says what to do."""

    def translate(value: Any, _: Context) -> Settings:
        word = str(value).lower()
        if word not in choices:
            raise Refused(f"is not offered: {otherwise}")
        return choices[word]

    return translate


def always(*values: Any, because: str) -> Translation:
    """A setting that is fixed here; these values ask for what happens anyway."""

    def translate(value: Any, _: Context) -> Settings:
        if any(equal(value, fixed) for fixed in values):
            return []
        raise Refused(f"is not offered: {because}")

    return translate


def field_or(keyword: str, reason: str) -> Translation:
    """Another name of a field where there is one; else it is not offered."""

    def translate(value: Any, _: Context) -> Settings:
        entry = kw.flat().get(keyword)
        if entry is None:
            raise Refused(f"is not offered: {reason}")
        return [(entry.path, value)]

    return translate


def column(role: str) -> Translation:
    """The column that has a role."""

    def translate(value: Any, _: Context) -> Settings:
        if not isinstance(value, str):
            raise Refused(f'must be the name of a column: column_mapping={{"COLUMN": "{role}"}}')
        return [("data.column_mapping", {value: role})]

    return translate


def names_list(path: str) -> Translation:
    """A list of names, which may be written with commas."""

    def translate(value: Any, _: Context) -> Settings:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, (list, tuple)):
            raise Refused("must be a list of names")
        return [(path, list(value))]

    return translate


def new_tokens(reason: str) -> Translation:
    """Tokens to add to the vocabulary: names, which may be written with commas; where there is no field, why not."""

    def translate(value: Any, context: Context) -> Settings:
        [(_, names)] = names_list("")(value, context)
        return field_or("new_tokens", reason)(names, context)

    return translate


def algorithm_name(hints: Mapping[str, str]) -> Translation:
    """A keyword that names the algorithm, as ``stage``; ``hints``: a name of theirs -> what it is here."""

    def translate(value: Any, context: Context) -> Settings:
        word = str(value).lower()
        if word in hints:
            raise Refused(f"names no algorithm: {hints[word]}")
        try:
            other = find(word)
        except ConfigError as error:
            raise Refused(f"names the algorithm, and {error}") from error
        if other != context.algorithm:
            raise Refused(
                f'names the algorithm: write algorithm="{other.name}", not {context.algorithm.name}'
            )
        return []

    return translate


def share(value: Any, _: Context) -> Settings:
    """Rows to hold out: a share below 1, or a number of rows."""
    rows = isinstance(value, int) or (isinstance(value, float) and value >= 1)
    if "eval_share" in kw.flat() and not rows:
        return [("data.eval_share", value)]
    if rows and value == 0:
        return []
    bound = f"-{int(value)}" if rows else f"{_percent_left(value)}%"
    raise Refused(f'is not offered: name the rows: split="train[:{bound}]", eval_split="train[{bound}:]"')


def _percent_left(held_out: Any) -> int:
    """What is left for training of 100 rows; 90 where the share is none."""
    return round(100 * (1 - held_out)) if isinstance(held_out, float) and 0 < held_out < 1 else 90


def vllm_option(name: str) -> Translation:
    """An argument of the generation engine, which is handed on as it is."""
    return lambda value, _: [(VLLM_OPTIONS, {name: value})]


ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention")
ATTENTION_NOT_OFFERED = {
    "s2": "attention is over whole rows; packing and flash_attention_2 make long ones cheap",
    "swa": "sliding windows are part of the model's own configuration",
}

_OF_PEERS = {
    "fa2": "flash_attention_2",
    "fa3": "flash_attention_3",
    **dict.fromkeys(("flash_attn", "flash", "flash_attention"), "flash_attention_2"),
    "disabled": "eager",
    **dict.fromkeys(("xformers", "memory_efficient"), "sdpa"),
    "flex": "flex_attention",
}


def attention_problem(name: str) -> str | None:
    """What is wrong with the name of an attention kernel; names registered with transformers pass."""
    if name in ATTENTION_NOT_OFFERED:
        return f"is not offered: {ATTENTION_NOT_OFFERED[name]}"
    if name in _OF_PEERS:
        return f'is "{_OF_PEERS[name]}" here'
    if name in ATTENTION or "/" in name or "|" in name:
        return None
    hint = did_you_mean(name, ATTENTION)
    return f"is unknown.{hint}" if hint else None
