"""The one mechanism between config paths and a library's arguments: written and read the same way by every plugin.

A plugin has a table of ``Argument``; ``write`` turns a configuration into keyword arguments of the library's own
objects, ``read`` turns such an object back into config paths and values, ``compare`` tells where they differ. An
algorithm's parameters are ``Argument`` too, made by ``parameter_arguments``. Light: imports no library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from aligntune_core.algorithms import find
from aligntune_core.errors import ConfigError

# Differences that never touch the maths; every other one raises.
EQUAL_VALUES = {"optim.optimizer": ({"adamw_torch", "adamw_torch_fused"},)}
NEVER_MATHS = frozenset({"run.dataloader_num_workers", "data.num_proc", "run.output_dir"})


def keep(value: Any) -> Any:
    """The value itself."""
    return value


def plain(value: Any) -> Any:
    """A library's enum as the string it stands for."""
    return getattr(value, "value", value)


@dataclass(frozen=True)
class Argument:
    """How one config path is applied to a library's object and read back from it.

    Attributes:
        path: the config path: "optim.learning_rate".
        part: which of the library's objects takes it, in the plugin's own words: "args", "load", "lora".
        name: its name there; several where one value sets several arguments.
        to: value -> argument; with several names, value -> a tuple of arguments.
        back: argument -> value; with several names it takes as many.
        only: the trait of algorithms whose library object has it (``Algorithm.has``); "": all.
        off: values that mean the same as "not set" for the algorithms that lack it.
        libraries_choice: whether None leaves the choice to the library, so that None has no value to compare with.
    """

    path: str
    part: str
    name: str | tuple[str, ...]
    to: Callable[[Any], Any] = keep
    back: Callable[..., Any] = plain
    only: str = ""
    off: tuple[Any, ...] = (None, False)
    libraries_choice: bool = False

    def written(self, value: Any) -> dict[str, Any]:
        """The keyword arguments that carry ``value``."""
        if isinstance(self.name, str):
            return {self.name: self.to(value)}
        return dict(zip(self.name, self.to(value), strict=True))

    def read(self, source: Any) -> Any:
        """The value in force in ``source``, an object or a mapping of arguments."""
        get = source.__getitem__ if isinstance(source, Mapping) else lambda name: getattr(source, name)
        names = (self.name,) if isinstance(self.name, str) else self.name
        return self.back(*(get(name) for name in names))


Table = tuple[Argument, ...]


def parameter_arguments(
    parameters: type[BaseModel], part: str = "args", own: Iterable[Argument] = ()
) -> Table:
    """An ``Argument`` for each parameter of an algorithm.

    Args:
        parameters: of the algorithm.
        part: the object that takes them.
        own: those that have another name, form or part there; for all others one of equal name is made.
    """
    written_out = {argument.path: argument for argument in own}
    paths = {f"parameters.{name}": name for name in parameters.model_fields}
    return tuple(written_out.get(path) or Argument(path, part, name) for path, name in paths.items())


def value_at(config: Any, path: str) -> Any:
    """The value at a dotted path; None where a section on the way is None."""
    for name in path.split("."):
        if config is None:
            return None
        config = getattr(config, name)
    return config


def write(table: Iterable[Argument], config: Any, part: str, library: str = "the library") -> dict[str, Any]:
    """Keyword arguments of ``part`` for this configuration.

    Args:
        table: of the plugin.
        config: resolved.
        part: which object they are for.
        library: its name in messages.

    Raises:
        ConfigError: a field is set that the library does not have for this algorithm.
    """
    algorithm = find(config.algorithm)
    arguments: dict[str, Any] = {}
    problems = []
    for argument in table:
        if argument.part != part:
            continue
        value = value_at(config, argument.path)
        if algorithm.has(argument.only):
            if not (value is None and argument.libraries_choice):
                arguments |= argument.written(value)
        elif value not in argument.off:
            problems.append(
                f"{argument.path}: got {value!r}, but {library} does not offer it for {config.algorithm}; leave it out"
            )
    if problems:
        raise ConfigError(problems)
    return arguments


def read(table: Iterable[Argument], config: Any, part: str, source: Any) -> dict[str, Any]:
    """What ``source`` (an object or a mapping of arguments) holds, as config path -> value.

    Fields that the configuration leaves to the library are left out: there is nothing to compare them with.
    """
    algorithm = find(config.algorithm)
    return {
        argument.path: argument.read(source)
        for argument in table
        if argument.part == part
        and algorithm.has(argument.only)
        and not (argument.libraries_choice and value_at(config, argument.path) is None)
    }


def compare(values: Mapping[str, Any], effective: Mapping[str, Any]) -> list[str]:
    """The config paths, sorted, whose value in ``effective`` means another run than the one in ``values``.

    Args:
        values: config path -> value of the configuration.
        effective: config path -> value in the library's objects; paths that ``values`` lacks do not count.
    """
    return [
        path for path in sorted(effective) if path in values and not same(path, values[path], effective[path])
    ]


def same(path: str, value: Any, other: Any) -> bool:
    """Whether two values of a field mean the same run."""
    if path in NEVER_MATHS or value == other:
        return True
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        return bool(abs(value - other) <= 1e-12 * max(abs(value), abs(other)))
    if isinstance(value, (list, tuple, set)) and isinstance(other, (list, tuple, set)):
        return sorted(map(str, value)) == sorted(map(str, other))
    return any({value, other} <= group for group in EQUAL_VALUES.get(path, ()) if isinstance(value, str))
