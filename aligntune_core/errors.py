"""Every exception of aligntune. Each says what was wrong, where, and what to do.

Backends' own exceptions are never wrapped: they pass through with a note that names the plugin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aligntune_core.wording import did_you_mean, listed

# The beginning of the note that carries a worker process' traceback.
WORKER_TRACEBACK = "traceback in the worker process:"


class AligntuneError(Exception):
    """Base of all errors of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses build their message from other arguments; a copy in another process keeps the finished one.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[AligntuneError], args: tuple[Any, ...], state: dict[str, Any]) -> AligntuneError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


# --- configuration ---------------------------------------------------------------------------------------------------


class ConfigError(AligntuneError, ValueError):
    """A configuration that cannot be used.

    Attributes:
        problems: one sentence each; the message holds them all.
    """

    def __init__(self, problems: str | Sequence[str], where: str = "") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        head = f"{where}: " if where else ""
        if len(self.problems) == 1:
            super().__init__(head + self.problems[0])
        else:
            super().__init__(
                f"{head}{len(self.problems)} problems\n" + "\n".join(f"  - {p}" for p in self.problems)
            )


class UnknownAlgorithm(ConfigError):
    """No algorithm of that name is known; ``elsewhere``: what one of the field that goes by it is here, if anything."""

    def __init__(self, name: str, names: Iterable[str], elsewhere: str = "") -> None:
        names = sorted(names)
        head = (
            f'"{name}" {elsewhere}.' if elsewhere else f'there is no algorithm "{name}".{_slip(name, names)}'
        )
        super().__init__(f"{head} Known: {listed(names)}.")


def _slip(name: str, names: Iterable[str]) -> str:
    """A hint at the algorithm that is meant: another letter in so short a name is another algorithm."""
    return did_you_mean(name, [n for n in names if len(n) > 4 or set(n) == set(name.lower())])


class UnknownReward(ConfigError):
    """No reward of that name is known."""


# --- data ------------------------------------------------------------------------------------------------------------


class DataError(AligntuneError, ValueError):
    """Rows or files that cannot be used."""


class BadRows(DataError):
    """Rows that cannot be used, each named.

    Attributes:
        rows: all of them, ``aligntune_core.data.BadRow``.
    """

    def __init__(self, message: str, rows: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


# --- backends --------------------------------------------------------------------------------------------------------


class BackendError(AligntuneError):
    """Base of everything that is wrong with a backend."""


class BackendNotFound(BackendError, LookupError):
    """No installed distribution brings a backend of that name."""

    def __init__(self, name: str, installed: Iterable[str], hint: str = "") -> None:
        installed = sorted(installed)
        super().__init__(
            f'no backend "{name}" is installed.{did_you_mean(name, [*installed, "auto"])} '
            f"Installed: {listed(installed)}." + (f" {hint}" if hint else "")
        )


class BackendUnavailable(BackendError, ImportError):
    """The backend is known but cannot run here: a missing requirement, device, or it is disabled."""


class BackendBroken(BackendError):
    """The plugin could not be loaded or does not fulfil the hook contract; the cause is chained."""


class BackendConflict(BackendError):
    """Two distributions claim one backend name."""

    def __init__(self, name: str, distributions: Iterable[str]) -> None:
        names = sorted(distributions)
        super().__init__(
            f'backend "{name}" is claimed by {" and ".join(names)}. Uninstall one: pip uninstall {names[-1].split()[0]}'
        )


class BackendInterference(BackendError):
    """Modules in this process keep the backend from running as it should."""


class HookError(BackendError):
    """A hook answered None, or something of the wrong type."""


class UnsupportedAlgorithm(BackendError, ConfigError):
    """The backend does not train this algorithm."""

    def __init__(self, backend: str, algorithm: str, reason: str = "", others: Iterable[str] = ()) -> None:
        text = f'backend "{backend}" does not train "{algorithm}"'
        text += f": {reason}" if reason else ""
        others = sorted(others)
        text += f". Backends that do: {listed(others)}" if others else ". No other ready backend does"
        ConfigError.__init__(self, text.rstrip(".") + ".")


class NotHonoured(BackendError, ConfigError):
    """The backend cannot honour a field that was set."""


class ContractViolation(BackendError):
    """The library would run something else than the configuration."""


# --- runs ------------------------------------------------------------------------------------------------------------


class RunError(AligntuneError):
    """Something is wrong with a run folder, a checkpoint or training itself."""


class RewardError(RunError, ValueError):
    """A reward that cannot score: wrong number of values, no number, NaN, or a column that the rows lack.

    Attributes:
        reward: its name.
        sample: index of the sample within the batch, or None where no single one is to blame.
    """

    def __init__(self, message: str, reward: str = "", sample: int | None = None) -> None:
        self.reward, self.sample = reward, sample
        super().__init__(message)


class RunLocked(RunError):
    """Another process trains in this folder."""


class CheckpointError(RunError):
    """No usable checkpoint where one was asked for."""


class NonFiniteLoss(RunError, ArithmeticError):
    """The loss or the gradient became NaN or infinite."""
