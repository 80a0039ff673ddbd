"""Runs code in a process of its own where heavy libraries cannot be imported, and names who tried.

The process starts from this file's text, so that not even ``aligntune_core`` is imported before the block stands.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

HEAVY = (
    *("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "unsloth", "unsloth_zoo"),
    *("datasets", "vllm", "deepspeed", "jax", "tensorflow"),
)


class HeavyImport(BaseException):
    """A blocked library was imported. No ``Exception``, so that no ``try`` of an optional import hides it."""


class Blocker(MetaPathFinder, Loader):
    """Refuses to load top-level modules; keeps its ``attempts``, also where the code took the exception for its own.

    ``importlib.util.find_spec``, which imports nothing, still works for them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)
        self.attempts: list[str] = []

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Claim the blocked names, leave the others alone."""
        return ModuleSpec(fullname, self) if fullname.partition(".")[0] in self.names else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Name the module and line that imports it."""
        frame = sys._getframe()
        while frame.f_back and (
            frame.f_code is self.create_module.__code__ or "importlib" in frame.f_code.co_filename
        ):
            frame = frame.f_back
        what = f"{frame.f_globals.get('__name__')} imports {spec.name}"
        self.attempts.append(f"{what} ({frame.f_code.co_filename}:{frame.f_lineno})")
        raise HeavyImport(self.attempts[-1])

    def exec_module(self, module: ModuleType) -> None:
        """Never reached."""


def run_blocked(
    code: str, names: Sequence[str] = HEAVY, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new interpreter where ``names`` cannot be imported, ``sys.meta_path[0]`` being the blocker.

    Where one was imported, ``returncode`` is 1 and the last line of ``stderr`` is "HeavyImport: MODULE imports NAME
    (FILE:LINE)". The timeout is in seconds.
    """
    block = Path(__file__).read_text(encoding="utf-8")
    whole = f"{block}\nsys.meta_path.insert(0, Blocker({tuple(names)!r}))\nexec({code!r}, {{'__name__': '__main__'}})\n"
    return subprocess.run(
        [sys.executable, "-c", whole], env=env, capture_output=True, text=True, timeout=timeout
    )
