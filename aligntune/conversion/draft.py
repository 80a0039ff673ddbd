"""A configuration of ours as it comes about, line by line of the other tool's file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aligntune.conversion.source import Source
from aligntune_core.algorithms import Algorithm
from aligntune_core.config import keywords as kw
from aligntune_core.config import resolve_config
from aligntune_core.config.read.layers import Layer, Reader
from aligntune_core.config.values import equal, excerpt
from aligntune_core.errors import ConfigError
from aligntune_core.fields import extra_of

# What stands where the other file says nothing, and a run cannot do without.
MISSING = {"model_name": "MODEL", "dataset_name": "DATA"}


@dataclass(frozen=True)
class Line:
    """A line of the other tool's file, and what is to be said of it."""

    key: str
    value: Any
    number: int | None
    why: str

    def __str__(self) -> str:
        place = f"line {self.number}: " if self.number else ""
        return f"{place}{self.why}"


@dataclass
class Draft:
    """What is converted so far.

    Attributes:
        source: the other tool's file.
        algorithm: of the run.
        settings: keyword -> value, of ours.
        origins: keyword -> the key that it comes from, or whose default it is.
        left_out: lines without a counterpart.
        remarks: lines that need none, or whose counterpart is to be looked at.
    """

    source: Source
    algorithm: Algorithm
    settings: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    left_out: list[Line] = field(default_factory=list)
    remarks: list[Line] = field(default_factory=list)

    def value(self, key: str) -> Any:
        """What the other file says, or None."""
        return self.source.values.get(key)

    def leave_out(self, key: str, value: Any, why: str) -> None:
        """List a line that has no counterpart, and what to do."""
        self.left_out.append(Line(key, value, self.source.lines.get(key), why))

    def remark(self, key: str, value: Any, why: str) -> None:
        """List a line that is to be looked at."""
        self.remarks.append(Line(key, value, self.source.lines.get(key), why))

    def put(self, keyword: str, value: Any, origin: str) -> None:
        """Set one of our keywords; the first to set it wins, and a second that differs is left out."""
        present = self.settings.get(keyword)
        if isinstance(present, Mapping) and isinstance(value, Mapping):
            value = {**present, **value}
        elif present is not None and not equal(present, value):
            why = f"{origin}={excerpt(value)} and {self.origins[keyword]} mean the same and differ"
            self.leave_out(origin, value, f"{why}: {keyword}={excerpt(present)} is written")
            return
        self.settings[keyword] = value
        self.origins.setdefault(keyword, origin)

    def take(self, key: str, value: Any, name: str | None = None) -> None:
        """A setting that means the same under this name in a call of ours, as ``read.peers`` says.

        Args:
            key: as the file has it, "trl.beta".
            value: of it.
            name: the setting's own name; default: the key.
        """
        layer = Layer({**self.source.values, name or key: value})
        reader = Reader(self.algorithm, [layer])
        settings = reader.settings_of(layer, name or key, value)
        if reader.problems:
            self.leave_out(key, value, "; ".join(reader.problems))
            return
        for setting in settings:
            entry = kw.entry_of(setting.path, self.algorithm)
            keyword = entry.keyword if entry else kw.keyword_of(setting.path)
            if setting.value is None or (entry and _is_idle_default(entry, setting.value)):
                continue
            if entry and extra_of(entry.info).get("secret"):
                self.leave_out(
                    key, "***", f"{key} is not written into a file: export HF_TOKEN, or hf auth login"
                )
                continue
            self.put(keyword, setting.value, key)

    def take_defaults(self, title: str, defaults: Mapping[str, Any]) -> None:
        """The other tool's own defaults, where its file says nothing and ours are others."""
        for keyword, value in defaults.items():
            if keyword not in self.settings:
                self.put(keyword, value, f"default of {title}")

    def settle(self) -> None:
        """Leave out what cannot stand beside the rest, so that the configuration is valid; fill in what is missing.

        Raises:
            ConfigError: nothing of it can be left out to make it valid.
        """
        while problems := self._problems(self.settings):
            dropped = next(filter(self._helps(problems), reversed(self.settings)), None)
            if dropped is None:
                raise ConfigError(problems, where=str(self.source.path))
            value = self.settings.pop(dropped)
            rest = self._problems(self.settings)
            origin = self.origins.get(dropped, dropped)
            self.leave_out(origin, value, "; ".join(p for p in problems if p not in rest))

        self.settings = self._filled(self.settings)

    def _filled(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with a word in place of what is missing; several data sets stand in for the one."""
        words = {k: word for k, word in MISSING.items() if k != "dataset_name" or "datasets" not in settings}
        return {**words, **settings}

    def _helps(self, problems: list[str]) -> Callable[[str], bool]:
        """Whether the configuration has fewer problems without a keyword."""

        def helps(keyword: str) -> bool:
            rest = {k: v for k, v in self.settings.items() if k != keyword}
            return keyword not in MISSING and len(self._problems(rest)) < len(problems)

        return helps

    def _problems(self, settings: Mapping[str, Any]) -> list[str]:
        logger = logging.getLogger("aligntune.config")
        before, logger.disabled = logger.disabled, True  # what has no effect is said when the file is read
        try:
            resolve_config(config={"algorithm": self.algorithm.name, **self._filled(settings)})
        except ConfigError as error:
            return error.problems
        finally:
            logger.disabled = before
        return []


def _is_idle_default(entry: kw.Entry, value: Any) -> bool:
    """Whether a value is that of a parameter which another one has to switch on, and as it is anyway."""
    return bool(extra_of(entry.info).get("needs")) and equal(value, entry.info.default)
