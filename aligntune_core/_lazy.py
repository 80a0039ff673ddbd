"""Attributes of a package that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any


def lazy(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Build ``__getattr__`` and ``__dir__`` for a package, which import what its ``if TYPE_CHECKING`` block imports.

    That block is the only place where an attribute and its module stand, so type checkers and the running package
    cannot disagree. A package without an ``__all__`` of its own has those attributes as its public names. Until the
    first access nothing is read.

    Args:
        package: the package's ``__name__``.

    Returns:
        The two functions. An attribute is stored in the package at its first access, so the next one costs nothing.
    """

    def module_getattr(name: str) -> Any:
        if name == "__all__":
            return sorted(_imports(package))
        if name not in _imports(package):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = _imports(package)[name]
        value = getattr(importlib.import_module(module), attribute)
        setattr(sys.modules[package], name, value)
        return value

    def module_dir() -> list[str]:
        return sorted({*vars(sys.modules[package]), *_imports(package)})

    return module_getattr, module_dir


@lru_cache
def _imports(package: str) -> dict[str, tuple[str, str]]:
    """Attribute -> module and name there, of the ``from`` imports in a package's ``if TYPE_CHECKING`` block."""
    spec = importlib.util.find_spec(package)
    source = spec.loader.get_source(package) if spec and spec.loader else None  # type: ignore[attr-defined]
    if source is None:
        raise ImportError(f"{package} is installed without its source, which says where its attributes are")
    blocks = [
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imports = [node for block in blocks for node in block if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name: (str(node.module), alias.name) for node in imports for alias in node.names
    }
