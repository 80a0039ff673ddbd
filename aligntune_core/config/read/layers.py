"""Reading one call, dict or file: every key becomes a setting of one config path, or a sentence that says why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from aligntune_core.algorithms import Algorithm, known
from aligntune_core.config import keywords as kw
from aligntune_core.config.keywords import Entry
from aligntune_core.config.read.peers import NOT_OFFERED, TRANSLATED, asks_for_nothing
from aligntune_core.config.read.translate import Context, Refused
from aligntune_core.config.resolve.intervals import share_behind
from aligntune_core.config.values import (
    equal,
    excerpt,
    holds_object,
    not_chosen,
    plain_value,
    same,
)
from aligntune_core.fields import extra_of, takes
from aligntune_core.wording import did_you_mean, listed

QUANTIZATION = "model.quantization"
# Values that ask for nothing, as None does.
_EMPTY: dict[str, tuple[Any, ...]] = {
    "optim.max_steps": (-1,),
    "run.eval_strategy": ("auto",),
    "peft.bias": (False,),  # peft has a switch of this name too
    **dict.fromkeys(("peft.target_modules", "peft.modules_to_save", "peft.layers_to_transform"), ([], ())),
}
# What a run works out from a field: where the field is set anew, that is worked out again.
_DECIDES = {
    "optim.num_epochs": ("optim.max_steps", "optim.warmup_steps"),
    "optim.warmup_ratio": ("optim.warmup_steps",),
    "optim.min_learning_rate": ("optim.lr_scheduler_kwargs",),
    "optim.lr_scheduler": ("optim.lr_scheduler_kwargs",),
    "run.evals_per_epoch": ("run.eval_steps", "run.eval_strategy"),
    "run.saves_per_epoch": ("run.save_steps",),
    "optim.batch_size": ("optim.eval_batch_size",),
    "run.seed": ("run.data_seed",),
    "run.logging_steps": ("run.eval_steps",),
    "data.eval_dataset": ("run.eval_strategy",),
    "data.eval_split": ("run.eval_strategy",),
    "data.eval_share": ("run.eval_strategy",),
    "model.precision": ("model.quantization.bnb_4bit_compute_dtype",),
}


@dataclass(frozen=True)
class Layer:
    """Where settings come from: a call, a dict or a file."""

    data: Mapping[str, Any]  # keywords, sections or dotted paths
    source: str = "call"  # "call" or "file PATH"
    lines: Mapping[str, int] = field(default_factory=dict)  # dotted key -> line number in that file
    manifest: bool = False  # whether it is what a run wrote down, defaults and decisions included
    # config path -> where its value came from in that run, where the manifest says so
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


def _shares(settings: Mapping[str, Setting], sources: Mapping[str, str]) -> dict[str, Setting]:
    """Settings that are shares of all steps again, where a run had worked them out: this run may have other steps."""
    again = {}
    for path in ("run.eval_steps", "run.save_steps"):
        share = share_behind(sources.get(path, ""))
        if share is not None and path in settings:
            again[path] = replace(settings[path], value=share)
    return again


class Reader:
    """Reads layers for one algorithm and collects settings and problems."""

    def __init__(self, algorithm: Algorithm, layers: list[Layer]) -> None:
        self.algorithm = algorithm
        self.layers = layers
        self.settings: dict[str, Setting] = {}
        self.problems: list[str] = []
        self.manifest: dict[str, str] = {}
        self._parameters = kw.parameter_names(algorithm.parameters)
        self._context = Context(algorithm, self._peek)

    def read(self) -> dict[str, Setting]:
        """Config path -> setting, of all layers, later ones over earlier ones; ``None`` takes a value back."""
        for layer in self.layers:
            of_layer: dict[str, Setting] = {}
            for name, value in layer.data.items():
                for setting in self.settings_of(layer, str(name), value):
                    self._join(of_layer, setting)
            if layer.manifest:
                of_layer |= _shares(of_layer, layer.sources)
            decided = [] if layer.manifest else [d for path in of_layer for d in _DECIDES.get(path, ())]
            for path in decided:
                if not_chosen(self.manifest.get(path, "call")):
                    self.settings.pop(path, None)
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
        return self.settings

    def _join(self, of_layer: dict[str, Setting], new: Setting) -> None:
        """Add a setting to those of one layer, where two names of one meaning must agree."""
        old = of_layer.get(new.path)
        if old is None or old.value is None:
            of_layer[new.path] = new
        elif new.value is None:
            return
        elif isinstance(old.value, Mapping) and isinstance(new.value, Mapping) and _is_part(old, new):
            of_layer[new.path] = Setting(new.path, {**old.value, **new.value}, old.written, old.source)
        elif not equal(old.value, new.value):
            self._problem(f"{old} and {new} mean the same and differ: give one", new.source)

    def _overlay(self, new: Setting) -> None:
        """Put a setting in the place of the one before, and of those of the sections below and above it."""
        for path in [p for p in self.settings if p.startswith(f"{new.path}.")]:
            del self.settings[path]
        self.settings.pop(new.path.rpartition(".")[0], None)
        self.settings[new.path] = new

    def _drop_empty_quantization(self) -> None:
        """Without 4-bit or 8-bit weights there is no quantisation; its other keys alone are a slip."""
        inside = {p: s for p, s in self.settings.items() if p.startswith(f"{QUANTIZATION}.")}
        switches = {p for p in inside if p.startswith(f"{QUANTIZATION}.load_in_")}
        if any(inside[path].value for path in switches):
            return
        for path, setting in inside.items():
            del self.settings[path]
            if (
                not switches
                and setting.value is not False
                and not equal(setting.value, _default_of_field(path))
            ):
                self._problem(f"{setting} needs load_in_4bit=True or load_in_8bit=True", setting.source)

    def settings_of(self, layer: Layer, name: str, value: Any) -> list[Setting]:
        """What one key of the outermost level sets; what is wrong with it is added to ``problems``."""
        value = plain_value(value)
        if isinstance(value, BaseModel):
            value = {k: getattr(value, k) for k in value.model_fields_set} if name in kw.sections() else value
        # rewards={"type": "length"} is a reward, not the section of that name.
        if (
            name in kw.sections()
            and isinstance(value, Mapping)
            and not (name == "rewards" and "type" in value)
        ):
            return self._section(layer, name, value)
        if "." in name:
            section, _, key = name.rpartition(".")
            section = QUANTIZATION if section == "quantization" else section  # the keyword of that section
            if section in kw.sections() or section == QUANTIZATION:
                return self._inside(layer, section, key, value)
            text = f'unknown key "{name}": there is no section "{section}". Sections: {listed(kw.sections())}'
            return self._refuse(layer, name, text)
        if name in kw.sections() and value is None:
            return []
        entry = kw.flat().get(name)
        if entry and (self.algorithm.has(entry.only) or name not in self._parameters):
            return self._field(layer, entry, value, name)
        if name in self._parameters:
            return [Setting(self._parameters[name].path, value, name, layer.where(name))]
        if name in TRANSLATED:
            return self._translate(layer, name, value)
        return self._stranger(layer, name, value, name)

    def _section(self, layer: Layer, section: str, values: Mapping[str, Any]) -> list[Setting]:
        return [s for k, v in values.items() for s in self._inside(layer, section, str(k), plain_value(v))]

    def _inside(self, layer: Layer, section: str, key: str, value: Any) -> list[Setting]:
        """A key of a section."""
        written = f"{section}.{key}"
        if section == kw.PARAMETERS:
            if key in self._parameters:
                return [Setting(self._parameters[key].path, value, written, layer.where(written))]
            return self._stranger(layer, key, value, written)
        if entry := kw.in_section(section).get(key):
            return self._field(layer, entry, value, written)
        text = f'unknown key "{key}" in section "{section}": {self._place(section, key)}'
        return self._refuse(layer, written, text)

    def _place(self, section: str, key: str) -> str:
        """Where a key belongs that a section does not have."""
        entry = kw.flat().get(key) or _field_named(key)
        if entry and entry.section:
            return f'it belongs under "{entry.section}" as "{entry.field}"'
        if entry or key in TRANSLATED:
            return "it belongs to the outermost level"
        if key in self._parameters:
            return f'it belongs under "{kw.PARAMETERS}"'
        if key in NOT_OFFERED:
            return f"it is not offered: {NOT_OFFERED[key]}"
        if owners := kw.owners(key):
            return f"it belongs to {listed(owners)}; this is {self.algorithm.name}"
        inside = kw.in_section(section)
        fields = sorted({e.field for e in inside.values()})
        return did_you_mean(key, inside).strip() or f"known are {listed(fields)}"

    def _field(self, layer: Layer, entry: Entry, value: Any, written: str) -> list[Setting]:
        """A field of the tree."""
        if not self.algorithm.has(entry.only):
            if entry.is_neutral(value) or equal(value, entry.info.default):
                return []
            return self._belongs(layer, written, [a.name for a in known().values() if a.has(entry.only)])
        where = layer.where(written)
        if entry.path == QUANTIZATION and isinstance(value, Mapping):
            inner = self._section(layer, QUANTIZATION, value)
            return inner or [Setting(QUANTIZATION, None, written, where)]
        if any(same(value, empty) for empty in _EMPTY.get(entry.path, ())):
            value = None
        if entry.path == "optim.warmup_steps" and isinstance(value, float) and 0 < value < 1:
            # As transformers 5 has it: below 1 it is a share.
            return [Setting("optim.warmup_ratio", value, written, where)]
        secret = value is not None and extra_of(entry.info).get("secret")
        return [Setting(entry.path, value, written, where, f"{written}=***" if secret else "")]

    def _translate(self, layer: Layer, name: str, value: Any) -> list[Setting]:
        """A keyword of a peer, by the fields that it means."""
        if asks_for_nothing(name, value):
            return []
        written = f"{name}={excerpt(value)}"
        try:
            pairs = TRANSLATED[name](value, self._context)
        except Refused as refusal:
            return self._refuse(layer, name, f"{written} {refusal}")
        settings = [Setting(path, v, name, layer.where(name), written) for path, v in pairs]
        return [s for setting in settings for s in self._of_this_algorithm(layer, setting)]

    def _of_this_algorithm(self, layer: Layer, setting: Setting) -> list[Setting]:
        """The setting, where the algorithm has its field; else nothing, or a problem if it asks for something."""
        entry = kw.entry_of(setting.path, self.algorithm)
        if entry and self.algorithm.has(entry.only):
            return [setting]
        if entry:
            owners = {a.name: entry for a in known().values() if a.has(entry.only)}
        else:
            owners = kw.owners(setting.path.removeprefix(f"{kw.PARAMETERS}."))
        fields = owners.values()
        if any(f.is_neutral(setting.value) or equal(setting.value, f.info.default) for f in fields):
            return []
        keyword = next((f.keyword for f in fields), setting.path)
        text = f"{setting} is not offered for {self.algorithm.name}: it is {keyword} of {listed(owners)}"
        return self._refuse(layer, setting.written, text)

    def _stranger(self, layer: Layer, name: str, value: Any, written: str) -> list[Setting]:
        """A name that neither the tree nor this algorithm knows."""
        if owners := kw.owners(name):
            if any(entry.is_neutral(value) for entry in owners.values()):
                return []
            return self._belongs(layer, written, owners)
        if name in NOT_OFFERED:
            if asks_for_nothing(name, value):
                return []
            return self._refuse(layer, written, f"{written} is not offered: {NOT_OFFERED[name]}")
        if name in kw.sections():
            text = f"{name}={excerpt(value)} must be a mapping: {name} is a section"
            return self._refuse(layer, written, text)
        hint = self._hint(name, value) or " See docs/reference/configuration.md."
        return self._refuse(layer, written, f'unknown keyword "{written}".{hint}')

    def _hint(self, name: str, value: Any) -> str:
        """The keyword that a slip of the pen stands for, where it takes such a value; a field within a section."""
        other = _field_named(name)
        if other and takes(other.info, value):
            return f" Write {other.keyword}, or {other.path}."
        entries = {**kw.flat(), **self._parameters}
        fitting = [n for n, entry in entries.items() if takes(entry.info, value) and _may_be_meant(n, name)]
        beginning = [n for n in fitting if n.startswith(f"{name}_")]
        if "_" not in name and beginning:
            return f" Keywords that begin so: {listed(beginning)}."
        of_peers = [n for n in TRANSLATED if not n.startswith(name.lower()) and _may_be_meant(n, name)]
        return did_you_mean(name, fitting) or did_you_mean(name, of_peers)

    def _belongs(self, layer: Layer, written: str, owners: Iterable[str]) -> list[Setting]:
        text = f"{written} belongs to {listed(owners)}; this is {self.algorithm.name}"
        return self._refuse(layer, written, text)

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


def _default_of_field(path: str) -> Any:
    """The default of a field of the tree."""
    return kw.tree()[path].info.default


def _may_be_meant(keyword: str, name: str) -> bool:
    """Whether a keyword is long enough that another letter in it is a slip: bits is not bias."""
    return len(keyword) > 4 or set(keyword) == set(name.lower())


def _is_part(old: Setting, new: Setting) -> bool:
    """Whether two mappings of one path are parts of it: neither was written under the path's own name."""
    whole = {kw.keyword_of(new.path), new.path}
    return not whole & {old.written, new.written}


def _field_named(name: str) -> Entry | None:
    """The first field of that name within a section."""
    return next((e for e in kw.tree().values() if e.field == name and e.section), None)
