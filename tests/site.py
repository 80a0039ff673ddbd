"""For tests of plugins: distributions with real metadata in a temporary folder, and the source of a sound plugin."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from aligntune_core import entrypoints

HOOKS = {
    "head": "from aligntune_core import BackendInfo, Device, LoadedModel, Prepared, Support, hookimpl",
    "backend_info": """
@hookimpl
def backend_info():
    return BackendInfo(summary="a plugin for tests", honours=frozenset({"optim.learning_rate"}), devices=("cpu",))
""",
    "supports_algorithm": """
@hookimpl
def supports_algorithm(algorithm):
    return Support(True) if algorithm == "sft" else Support(False, "sft only")
""",
    "prepare": """
@hookimpl
def prepare(config):
    return Prepared(device=Device(kind="cpu"), tokenizer="tokenizer of " + config)
""",
    "load_model": """
@hookimpl
def load_model(config, prepared):
    return LoadedModel("weights of " + config, prepared.tokenizer)
""",
    "apply_peft": """
@hookimpl
def apply_peft(loaded, config):
    return LoadedModel(loaded.model + " with adapter", loaded.tokenizer)
""",
    "build_trainer": """
class Engine:
    native = model = None
    def effective(self): return {}
    def train(self, resume_from=None): ...
    def evaluate(self, rows=None): return {}
    def save(self, path, form): ...
    def generate(self, prompts, sampling): return []
    def close(self): ...

@hookimpl
def build_trainer(loaded, config, datasets, prepared, run):
    return Engine()
""",
}

_numbers = itertools.count()


def plugin(**changes: str | None) -> str:
    """The source of a sound plugin with some of its hooks replaced, or left out where None."""
    parts = {**HOOKS, **changes}
    return "\n".join(text for text in parts.values() if text is not None)


class Site:
    """A folder on sys.path into which distributions are "installed"."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        name: str,
        entries: Mapping[str, Mapping[str, str]] | None = None,
        version: str = "1.0",
        requires: Sequence[str] = (),
        kind: str = "dist-info",
        editable: Path | None = None,
        folder: Path | None = None,
    ) -> Path:
        """Write the metadata folder of a distribution: group -> {entry name: value}."""
        folder = folder or self.folder
        meta = folder / f"{name.replace('-', '_')}-{version}.{kind}"
        meta.mkdir(parents=True)
        head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Summary: {name} for tests"]
        text = "\n".join([*head, *(f"Requires-Dist: {r}" for r in requires), ""])
        (meta / ("METADATA" if kind == "dist-info" else "PKG-INFO")).write_text(text)
        lines = []
        for group, found in (entries or {}).items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in found.items())]
        (meta / "entry_points.txt").write_text("\n".join(lines) + "\n")
        if editable is not None:
            origin = {"url": editable.as_uri(), "dir_info": {"editable": True}}
            (meta / "direct_url.json").write_text(json.dumps(origin))
        entrypoints.refresh()
        return meta

    def module(self, source: str) -> str:
        """Write a module of a new name and return the name."""
        name = f"aligntune_fake_{next(_numbers)}"
        (self.folder / f"{name}.py").write_text(source)
        return name

    def backend(self, name: str, source: str | None = None, **more: object) -> str:
        """Install distribution ``fake-NAME`` with a backend of that name; returns its module's name."""
        module = self.module(plugin() if source is None else source)
        self.install(f"fake-{name}", {"aligntune.backends": {name: module}}, **more)  # type: ignore[arg-type]
        return module

    def extension(self, backend: str, name: str, source: str, **more: object) -> str:
        """Install distribution ``fake-NAME`` with an extension of a backend."""
        module = self.module(source)
        self.install(f"fake-{name}", {f"aligntune.extensions.{backend}": {name: module}}, **more)  # type: ignore[arg-type]
        return module
