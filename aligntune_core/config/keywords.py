"""The one table of keywords: every name a caller may write, and the config path it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aligntune_core.algorithms import Algorithm, catalogue, known
from aligntune_core.config.schema.sections import Config
from aligntune_core.config.values import same, says_nothing
from aligntune_core.fields import Section, extra_of
from aligntune_core.wording import listed

PARAMETERS = "parameters"


@dataclass(frozen=True)
class Entry:
    """One field: its path, its canonical name in a flat call, other names, and pydantic's description of it."""

    path: str
    keyword: str
    aliases: tuple[str, ...]
    info: FieldInfo

    @property
    def section(self) -> str:
        """The section it lies in: "optim"; empty for a field of the top level."""
        return self.path.rpartition(".")[0]

    @property
    def field(self) -> str:
        """Its name within the section."""
        return self.path.rpartition(".")[2]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that means this field in a flat call."""
        return (self.keyword, *self.aliases)

    @property
    def only(self) -> str:
        """The trait of the algorithms that have it; "" for all."""
        return str(extra_of(self.info).get("only", ""))

    def is_neutral(self, value: Any) -> bool:
        """Whether ``value`` asks for nothing: None, False, "none", an empty list, or what switches the field off."""
        neutral = extra_of(self.info).get("neutral", ())
        if value is False and any(n is True for n in neutral):
            return False  # it is on unless it is switched off
        return says_nothing(value) or any(same(value, n) for n in neutral)


def section_of(info: FieldInfo) -> type[Section] | None:
    """The section class that a field holds, optional ones included."""
    for kind in (info.annotation, *get_args(info.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


@cache
def tree() -> dict[str, Entry]:
    """Config path -> entry, for every field and section of the tree; parameters of algorithms are not in it."""
    return {entry.path: entry for entry in _walk(Config, "")}


def _walk(section: type[Section], prefix: str) -> Iterator[Entry]:
    for name, info in section.model_fields.items():
        yield _entry(prefix + name, name, info)
        inner = section_of(info)
        if inner:
            yield from _walk(inner, f"{prefix}{name}.")


def _entry(path: str, name: str, info: FieldInfo) -> Entry:
    extra = extra_of(info)
    plain = [a for a in (info.alias, info.validation_alias) if isinstance(a, str)]
    aliases = tuple(dict.fromkeys([*extra.get("aliases", ()), *plain]))
    return Entry(path, extra.get("keyword") or name, aliases, info)


@cache
def flat() -> dict[str, Entry]:
    """Keyword or alias -> entry, for every field that a flat call may name."""
    return {name: e for e in tree().values() if not _is_container(e) for name in e.names}


def keyword_of(path: str) -> str:
    """The name of a config path in a flat call: "lora_r" for "peft.r"."""
    return tree()[path].keyword if path in tree() else path.removeprefix(f"{PARAMETERS}.")


@cache
def sections() -> tuple[str, ...]:
    """Names of the sections: model, peft, data, optim, run, rewards, parameters."""
    return tuple(e.path for e in tree().values() if _is_container(e))


def _is_container(entry: Entry) -> bool:
    kind = entry.info.annotation
    return entry.path == PARAMETERS or (isinstance(kind, type) and issubclass(kind, Section))


@cache
def parameters_of(model: type[BaseModel]) -> dict[str, Entry]:
    """Field name -> entry of an algorithm's parameters."""
    return {name: _entry(f"{PARAMETERS}.{name}", name, info) for name, info in model.model_fields.items()}


@cache
def parameter_names(model: type[BaseModel]) -> dict[str, Entry]:
    """Keyword, alias or field name -> entry of an algorithm's parameters; an alias gives way to a field's own name."""
    entries = parameters_of(model)
    return {**{n: e for e in entries.values() for n in e.names}, **entries}


def in_section(section: str) -> dict[str, Entry]:
    """Every name that is understood inside a section: field names, and the keywords and aliases of a flat call."""
    inside = [e for e in tree().values() if e.section == section]
    return {**{name: e for e in inside for name in e.names}, **{e.field: e for e in inside}}


def owners(name: str) -> dict[str, Entry]:
    """Algorithm -> entry, for every algorithm that has a parameter of that name."""
    entries = {a.name: parameter_names(a.parameters).get(name) for a in known().values()}
    return {algorithm: entry for algorithm, entry in entries.items() if entry}


def entry_of(path: str, algorithm: Algorithm) -> Entry | None:
    """The field at a path, one of the algorithm's parameters included; None where there is none."""
    section, _, name = path.partition(".")
    own = parameters_of(algorithm.parameters).get(name) if section == PARAMETERS else None
    return own or tree().get(path)


def on_resume(path: str, algorithm: Algorithm) -> str:
    """What a changed value at a path means for a run that is resumed, as ``option`` says it.

    A field that says nothing is as its section is, and a key within a field (``model.device_map.lm_head``) as it is.
    """
    while path:
        entry = entry_of(path, algorithm)
        if entry and (meaning := extra_of(entry.info).get("on_resume")):
            return str(meaning)
        path = path.rpartition(".")[0]
    return ""


def named(path: str) -> str:
    """A field as users know it: its keyword, with its path."""
    return f"{keyword_of(path)} ({path})" if path in tree() else keyword_of(path)


def _clash(algorithm: Algorithm) -> str:
    """Which parameters of an installed algorithm have the name of a keyword that it has too, as a sentence."""
    names = [n for n in algorithm.parameters.model_fields if n in flat() and algorithm.has(flat()[n].only)]
    return f"its parameter {listed(names)} has the name of a keyword of ours" if names else ""


catalogue.reserve(_clash)
