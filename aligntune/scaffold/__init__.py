"""Writes a new backend plugin: a complete, typed, tested package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from aligntune_core.errors import ConfigError
from aligntune_core.version import __version__

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
SUFFIX = ".template"
RESERVED = ("auto",)

# What each kind needs beside aligntune, and the tier of the kit that it passes.
KINDS = {
    "empty": ((), "static"),
    "sft": (("torch>=2.6", "transformers>=5.17", "peft>=0.18", "safetensors"), "live"),
}


def write(name: str, example: str = "empty", parent: Path | None = None) -> Path:
    """Write the package of a backend.

    Args:
        name: the backend's name: lower-case letters, digits, "-" and "_".
        example: "empty": what is left to write raises with an instruction; "sft": it trains.
        parent: folder to write into; by default the current one.

    Returns:
        Path: the new folder, ``aligntune-NAME``.

    Raises:
        ConfigError: the name cannot be used, an installed backend has it, or the folder exists.
    """
    _check(name)
    words = _words(name, example)
    folder = (parent or Path.cwd()) / words["distribution"]
    if folder.exists():
        raise ConfigError(f"{folder} exists already; choose another name, or remove it")
    for part in ("common", example):
        for path, text in _templates(files(__package__) / "templates" / part):
            target = folder / path.replace("package", words["package"])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Template(text).substitute(words), encoding="utf-8")
    return folder


def _check(name: str) -> None:
    from aligntune_core.backends.registry import registry

    if not NAME.fullmatch(name) or name in RESERVED:
        raise ConfigError(
            f'a backend cannot be called "{name}": take lower-case letters, digits, "-" and "_", a letter first'
        )
    if name in registry().names():
        raise ConfigError(
            f'backend "{name}" is installed already ({registry().row(name).distribution}); choose another name'
        )


def _words(name: str, example: str) -> dict[str, str]:
    requirements, tier = KINDS[example]
    major, minor = __version__.split(".")[:2]
    parts = re.split("[-_]", name)
    return {
        "name": name,
        "distribution": "aligntune-" + "-".join(parts),
        "package": "aligntune_" + "_".join(parts),
        "class_name": "".join(part.capitalize() for part in parts),
        "summary": f"SFT in plain PyTorch, to start {name} from"
        if example == "sft"
        else f"the {name} library",
        "core": f"{major}.{minor}",
        "next_core": str(int(major) + 1),
        "requirements": "".join(f'\n    "{requirement}",' for requirement in requirements),
        "tier": tier,
    }


def _templates(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _templates(item, f"{prefix}{item.name}/")
        elif item.name.endswith(SUFFIX):
            yield prefix + item.name.removesuffix(SUFFIX), item.read_text(encoding="utf-8")
