"""The user's objects travel as bytes and are opened only after the backend's own imports.

Opening a reward function of TRL, say, imports trl; in a worker that has to import unsloth first, that is too early.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle

from aligntune_core.config.schema.sections import replaced
from aligntune_core.config.table import value_at
from aligntune_core.errors import ConfigError, RunError
from aligntune_core.wording import a_type

if TYPE_CHECKING:
    from aligntune_core.config import Config

    AnyConfig = TypeVar("AnyConfig", bound=Config)

_ROWS = ("data.dataset", "data.datasets", "data.eval_dataset")
# Where a configuration may hold objects of the user's.
OBJECTS = (*_ROWS, "rewards.functions", "rewards.model", "run.callbacks")


@dataclass(frozen=True)
class Pickled:
    """An object of the user's, unopened."""

    data: bytes
    described: str

    def open(self) -> Any:
        return read(self.data, self.described)


def read(content: bytes, described: str) -> Any:
    """What the parent pickled, opened in the worker.

    Raises:
        RunError: it cannot be, e.g. since a module of the user's is not found here.
    """
    try:
        return cloudpickle.loads(content)
    except Exception as error:
        raise RunError(
            f"the worker process could not read {described}: {type(error).__name__}: {error}. What it is made of must "
            "be importable there: put the folder of its module on sys.path before the trainer is created."
        ) from error


def _is_plain(value: Any) -> bool:
    if isinstance(value, list) and not any(isinstance(v, dict) for v in value[:1]):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, (str, int, float, bool))


def pack(config: AnyConfig) -> AnyConfig:
    """Replace the user's objects by ``Pickled``.

    Raises:
        ConfigError: the model is an object in memory, or an object cannot be pickled.
    """
    if not isinstance(config.model.name, str):
        raise ConfigError(
            f"model_name is {a_type(config.model.name)} in memory, which cannot go to another process with "
            'isolation="process": save it (model.save_pretrained(FOLDER)) and give the folder'
        )
    for path in OBJECTS:
        value = value_at(config, path)
        if not _is_plain(value):
            config = replaced(config, path, _pickled(value, path))
    return config


def _pickled(value: Any, path: str) -> Any:
    if isinstance(value, list) and path not in _ROWS:
        return [v if _is_plain(v) else _pickled(v, path) for v in value]
    try:
        return Pickled(cloudpickle.dumps(value), f"{path} ({a_type(value)})")
    except Exception as error:
        raise ConfigError(
            f'{path}: {a_type(value)} cannot be sent to another process with isolation="process" ({error}); '
            'give a file, a hub id or "package.module:function" instead'
        ) from error


def unpack(config: AnyConfig) -> AnyConfig:
    """Open every ``Pickled`` of a configuration; without any, the configuration itself."""
    for path in OBJECTS:
        value = value_at(config, path)
        if isinstance(value, Pickled):
            config = replaced(config, path, value.open())
        elif isinstance(value, list) and any(isinstance(v, Pickled) for v in value):
            opened = [v.open() if isinstance(v, Pickled) else v for v in value]
            config = replaced(config, path, opened)
    return config
