"""Writing a configuration out: for the manifest, for comparison, and what of it the user set."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, SecretStr

from aligntune_core.config import keywords as kw
from aligntune_core.config.read.build import default_of, paths
from aligntune_core.config.schema.sections import Config
from aligntune_core.config.values import IN_MEMORY, equal, holds_object, nested, not_chosen
from aligntune_core.fields import extra_of

MANIFEST = "aligntune.json"
"""File of a run folder that a configuration is written to and read from; ``run/folder.py`` has all the others."""

CHECKPOINT = "checkpoint-"
"""How the folder of a checkpoint in a run folder begins; the step follows."""

# Free-form values, in which keys like these hold secrets; eos_token, max_new_tokens and the like do not.
_FREE = ("backend_options", "rewards.functions")
_SECRET = re.compile(
    r"api_?key|secret|password|credential|^((hf|hub|api|auth|use_auth|access)_)?token$", re.IGNORECASE
)


def changed(config: Config, owner: str = "") -> set[str]:
    """Paths that the user set to other than their default; of ``owner`` "backend" those a backend has to honour."""
    values = paths(config)
    theirs = (
        values if not owner else {p for p, e in kw.tree().items() if extra_of(e.info).get("owner") == owner}
    )
    return {p for p in written(config) if p in theirs and not equal(values[p], default_of(config, p))}


def written(config: Config) -> set[str]:
    """Paths that the user set, to whatever value."""
    return {path for path in paths(config) if not not_chosen(config.sources.get(path, ""))}


def covers(honoured: Iterable[str], path: str) -> bool:
    """Whether a set of honoured paths holds ``path``, itself or by a section above it (``model.quantization``)."""
    honoured = set(honoured)
    parts = path.split(".")
    return any(".".join(parts[:n]) in honoured for n in range(1, len(parts) + 1))


def plain(config: Config, hashes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The configuration as JSON can hold it: secrets left out, objects in memory by type and hash.

    Args:
        config: of a run.
        hashes: config path -> hash of an object in memory, where the caller knows one.
    """
    values = {path: value for path, value in paths(config).items() if not _is_secret(path)}
    return nested({path: _plain(value, path, (hashes or {}).get(path)) for path, value in values.items()})


def in_memory(config: Config) -> list[str]:
    """Paths whose value was an object in memory, so that the run cannot be repeated from its manifest."""
    values = paths(config).items()
    return [path for path, v in values if not _is_secret(path) and holds_object(_plain(v, path, None))]


def _is_secret(path: str) -> bool:
    entry = kw.tree().get(path)
    return bool(entry and extra_of(entry.info).get("secret"))


def _plain(value: Any, path: str, digest: str | None) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if path == "data.dataset" or path == "data.eval_dataset":
        return _object(value, digest or _rows_hash(value))
    if path == "data.datasets":
        return [
            {k: _plain(v, "data.dataset" if k == "name" else path + ".", None) for k, v in entry.items()}
            for entry in value
        ]
    if isinstance(value, BaseModel):
        return {k: _plain(getattr(value, k), path, None) for k in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(k): _plain(v, path, None) for k, v in value.items() if not _looks_secret(path, k, v)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v, path, None) for v in value]
    name = _importable(value) if path == "rewards.functions" else None
    return name or _object(value, digest)


def _looks_secret(path: str, key: Any, value: Any) -> bool:
    named = path in _FREE and isinstance(value, str) and _SECRET.search(str(key)) is not None
    return named or isinstance(value, SecretStr)


def _importable(value: Any) -> str | None:
    """ "package.module:function" for a function that another process finds under that name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not callable(value) or not module or module == "__main__" or "<" in name or "." in name:
        return None
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is value else None


def _object(value: Any, digest: str | None) -> dict[str, str]:
    stand_in = {IN_MEMORY: f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")}
    return {**stand_in, "sha256": digest} if digest else stand_in


def _rows_hash(value: Any) -> str | None:
    """Hash of rows in memory: of a list's content, of a ``datasets.Dataset`` its fingerprint."""
    if isinstance(value, (list, tuple)):
        text = json.dumps(value, sort_keys=True, default=repr, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
    fingerprint = getattr(value, "_fingerprint", None)
    return str(fingerprint) if fingerprint else None
