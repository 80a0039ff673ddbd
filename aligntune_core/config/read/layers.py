"""Reading one call, dict or file: every key becomes a setting of one config path, or a sentence that says why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from aligntune_core.algorithms import Algorithm
from aligntune_core.config import keywords as kw
from aligntune_core.config.keywords import Entry
from aligntune_core.config.read.translate import (
    FALSE_SAYS_SOMETHING,
    NOT_OFFERED,
    TRANSLATED,
    Context,
    Refused,
)
from aligntune_core.config.values import equal, excerpt, holds_object, plain_value
from aligntune_core.fields import extra_of
from aligntune_core.wording import did_you_mean, listed, nearest

QUANTIZATION = "model.quantization"
# An empty list asks for nothing.
_LISTS = ("peft.target_modules", "peft.modules_to_save", "peft.layers_to_transform")
MAX_STEPS = "optim.max_steps"
DECIDES = {
    "optim.num_epochs": ("optim.max_steps", "optim.warmup_steps"),
    "optim.warmup_ratio": ("optim.warmup_steps",),
    "optim.batch_size": ("optim.eval_batch_size",),
    "run.seed": ("run.data_seed",),
    "run.logging_steps": ("run.eval_steps",),
    "data.eval_dataset": ("run.eval_strategy",),
    "data.eval_split": ("run.eval_strategy",),
    "model.precision": ("model.quantization.bnb_4bit_compute_dtype",),
}


@dataclass(frozen=True)
class Layer:
    """Where settings come from: a call, a dict or a file.

    Attributes:
        data: keywords, sections or dotted paths.
        source: "call" or "file PATH".
        lines: dotted key -> line number in that file.
        manifest: whether it is what a run wrote down, defaults and decisions included.
        sources: config path -> where its value came from in that run, where the manifest says so.
    """

    data: Mapping[str, Any]
    source: str = "call"
    lines: Mapping[str, int] = field(default_factory=dict)
    manifest: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """The source of one key: "call", "file x.yaml:3"."""
        return f"{self.source}:{self.lines[key]}" if key in self.lines else self.source


@dataclass(frozen=True)
class Setting:
    """One value for one path, as somebody wrote it."""

    path: str
    value: Any
    written: str
    source: str
    text: str = ""

    def __str__(self) -> str:
        return self.text or f"{self.written}={excerpt(self.value)}"


class Reader:
    """Reads layers for one algorithm and collects settings and problems."""

    def __init__(self, algorithm: Algorithm, layers: Iterable[Layer]) -> None:
        self.algorithm = algorithm
        self.layers = list(layers)
        self.settings: dict[str, Setting] = {}
        self.problems: list[str] = []
        self.manifest: dict[str, str] = {}
        self._parameters = kw.parameter_names(algorithm.parameters)
        self._context = Context(algorithm, self._peek)

    def read(self) -> None:
        """Read all layers, later ones over earlier ones; ``None`` takes a value back."""
        for layer in self.layers:
            of_layer: dict[str, Setting] = {}
            for name, value in layer.data.items():
                for setting in self._top(layer, str(name), plain_value(value)):
                    self._join(of_layer, setting)
            if not layer.manifest:
                self._take_back_decisions(of_layer)
            for path, setting in of_layer.items():
                self.manifest.pop(path, None)
                self._overlay(setting)
            if layer.manifest:
                self.manifest |= {path: layer.sources.get(path, "") for path in of_layer}
        self.settings = {p: s for p, s in self.settings.items() if s.value is not None}
        self._drop_empty_quantization()
        for setting in self.settings.values():
            if holds_object(setting.value):
                text = f"{setting.written} was an object in memory there, so the run cannot be repeated from its file"
                self._problem(f"{text}: give {kw.keyword_of(setting.path)}=...", setting.source)

    def _join(self, of_layer: dict[str, Setting], new: Setting) -> None:
        """Add a setting to those of one layer, where two names of one meaning must agree."""
        old = of_layer.get(new.path)
        if old is None or old.value is None:
            of_layer[new.path] = new
        elif new.value is None:
            return
        elif new.path == "data.column_mapping" and "_column" in old.written + new.written:
            of_layer[new.path] = Setting(new.path, {**old.value, **new.value}, old.written, old.source)
        elif not equal(old.value, new.value):
            self._problem(f"{old} and {new} mean the same and differ: give one", new.source)

    def _take_back_decisions(self, of_layer: Mapping[str, Setting]) -> None:
        """A manifest holds what was worked out from a field; where that field is set anew, it is worked out again."""
        for path in of_layer:
            for dependent in DECIDES.get(path, ()):
                if not_chosen(self.manifest.get(dependent, "call")):
                    self.settings.pop(dependent, None)

    def _overlay(self, new: Setting) -> None:
        inside = [p for p in self.settings if p.startswith(f"{new.path}.")]
        for path in inside:
            del self.settings[path]
        parent = new.path.rpartition(".")[0]
        self.settings.pop(parent, None)
        self.settings[new.path] = new

    def _drop_empty_quantization(self) -> None:
        """Without 4-bit or 8-bit weights there is no quantisation; its other keys alone are a slip."""
        inside = {p: s for p, s in self.settings.items() if p.startswith(f"{QUANTIZATION}.")}
        if any(s.value for p, s in inside.items() if p.rpartition(".")[2].startswith("load_in_")):
            return
        for path, setting in inside.items():
            del self.settings[path]
            if not path.rpartition(".")[2].startswith("load_in_") and not any(
                "load_in_" in p for p in inside
            ):
                self._problem(f"{setting} needs load_in_4bit=True or load_in_8bit=True", setting.source)

    def _top(self, layer: Layer, name: str, value: Any) -> list[Setting]:
        """A key of the outermost level."""
        if (
            name in kw.sections()
            and isinstance(value, (Mapping, BaseModel))
            and not _is_one_reward(name, value)
        ):
            inner = (
                value
                if isinstance(value, Mapping)
                else {k: getattr(value, k) for k in value.model_fields_set}
            )
            return [s for k, v in inner.items() for s in self._inside(layer, name, str(k), plain_value(v))]
        if "." in name:
            section, _, key = name.rpartition(".")
            section = QUANTIZATION if section == "quantization" else section  # the keyword of that section
            if section in kw.sections() or section == QUANTIZATION:
                return self._inside(layer, section, key, value)
            return self._refuse(layer, name, f'unknown key "{name}": there is no section "{section}". '
                                f"Sections: {listed(kw.sections())}")  # fmt: skip
        if name in kw.sections() and value is None:
            return []
        if name in TRANSLATED:
            return self._translate(layer, name, value)
        entry = kw.flat().get(name)
        if entry and (kw.belongs(entry, self.algorithm) or name not in self._parameters):
            return self._field(layer, entry, value, name)
        if name in self._parameters:
            return [Setting(self._parameters[name].path, value, name, layer.where(name))]
        return self._stranger(layer, name, value)

    def _inside(self, layer: Layer, section: str, key: str, value: Any) -> list[Setting]:
        """A key of a section."""
        written = f"{section}.{key}"
        if section == kw.PARAMETERS:
            if key in self._parameters:
                return [Setting(self._parameters[key].path, value, written, layer.where(written))]
            return self._stranger(layer, key, value, written)
        entry = kw.in_section(section).get(key)
        if entry:
            return self._field(layer, entry, value, written)
        return self._refuse(
            layer, written, f'unknown key "{key}" in section "{section}": {self._place(section, key)}'
        )

    def _place(self, section: str, key: str) -> str:
        """Where a key belongs that a section does not have."""
        entry = kw.flat().get(key) or next(
            (e for e in kw.tree().values() if e.field == key and e.section), None
        )
        if entry and entry.section:
            return f'it belongs under "{entry.section}" as "{entry.field}"'
        if entry or key in TRANSLATED:
            return "it belongs to the outermost level"
        if key in self._parameters:
            return f'it belongs under "{kw.PARAMETERS}"'
        if key in NOT_OFFERED:
            return f"it is not offered: {NOT_OFFERED[key]}"
        owners = kw.owners(key)
        if owners:
            return f"it belongs to {listed(owners)}; this is {self.algorithm.name}"
        inside = kw.in_section(section)
        return (
            did_you_mean(key, inside).strip()
            or f"known are {listed(sorted({e.field for e in inside.values()}))}"
        )

    def _field(self, layer: Layer, entry: Entry, value: Any, written: str) -> list[Setting]:
        """A field of the tree."""
        if not kw.belongs(entry, self.algorithm):
            if entry.is_neutral(value) or equal(value, entry.info.default):
                return []
            owners = listed(kw.algorithms_with(entry))
            return self._refuse(
                layer, written, f"{written} belongs to {owners}; this is {self.algorithm.name}"
            )
        where = layer.where(written)
        if entry.path == QUANTIZATION and isinstance(value, Mapping):
            inner = [
                s for k, v in value.items() for s in self._inside(layer, QUANTIZATION, str(k), plain_value(v))
            ]
            return inner or [Setting(QUANTIZATION, None, written, where)]
        if (entry.path == MAX_STEPS and value == -1) or (entry.path in _LISTS and value in ([], ())):
            value = None
        secret = value is not None and extra_of(entry.info).get("secret")
        return [Setting(entry.path, value, written, where, f"{written}=***" if secret else "")]

    def _translate(self, layer: Layer, name: str, value: Any) -> list[Setting]:
        if kw.says_nothing(value) and name not in FALSE_SAYS_SOMETHING:
            return []
        try:
            pairs = TRANSLATED[name](value, self._context)
        except Refused as refusal:
            return self._refuse(layer, name, f"{name}={excerpt(value)} {refusal}")
        return [Setting(path, v, name, layer.where(name), f"{name}={excerpt(value)}") for path, v in pairs]

    def _stranger(self, layer: Layer, name: str, value: Any, written: str = "") -> list[Setting]:
        """A name that neither the tree nor this algorithm knows."""
        written = written or name
        owners = kw.owners(name)
        if owners:
            if any(entry.is_neutral(value) for entry in owners.values()):
                return []
            return self._refuse(
                layer, written, f"{written} belongs to {listed(owners)}; this is {self.algorithm.name}"
            )
        if name in NOT_OFFERED:
            if kw.says_nothing(value) or (name == "reward_device" and value == "auto"):
                return []
            return self._refuse(layer, written, f"{written} is not offered: {NOT_OFFERED[name]}")
        if name in kw.sections():
            return self._refuse(
                layer, written, f"{name}={excerpt(value)} must be a mapping: {name} is a section"
            )
        names = [*kw.flat(), *self._parameters, *TRANSLATED]
        other = next((e for e in kw.tree().values() if e.field == name and e.section), None)
        if other:
            hint = f" Write {other.keyword}, or {other.path}."
        elif nearest(name, names):
            hint = did_you_mean(name, names)
        else:
            hint = " See docs/reference/configuration.md."
        return self._refuse(layer, written, f'unknown keyword "{written}".{hint}')

    def _refuse(self, layer: Layer, key: str, text: str) -> list[Setting]:
        self._problem(text, layer.where(key))
        return []

    def _problem(self, text: str, source: str) -> None:
        self.problems.append(text if source == "call" else f"{text} ({source.removeprefix('file ')})")

    def _peek(self, keyword: str) -> Any:
        """The value of a keyword under any of its names, in any layer; the last one counts."""
        entry = kw.flat()[keyword]
        value = None
        for layer in self.layers:
            for name in (*entry.names, entry.path):
                value = layer.data.get(name, value)
            section = layer.data.get(entry.section) if entry.section else None
            if isinstance(section, Mapping):
                value = section.get(entry.field, value)
        return plain_value(value)


def _is_one_reward(name: str, value: Any) -> bool:
    """``rewards={"type": "length"}`` is a reward, not the section of that name."""
    return name == "rewards" and isinstance(value, Mapping) and "type" in value


def not_chosen(source: str) -> bool:
    """Whether a source in a manifest says, or leaves open, that a value was a default or worked out."""
    return not source or source.startswith(("default", "resolved"))
