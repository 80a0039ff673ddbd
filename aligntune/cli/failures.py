"""Turn a failed command's exception into a message and an exit code."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import typer

from aligntune.cli.options import JSON, VERBOSE
from aligntune.cli.output import print_json
from aligntune_core.errors import WORKER_TRACEBACK, AligntuneError, BackendError, ConfigError, DataError

# Matches the note that names a reward which raised, or could not be imported.
_OF_A_REWARD = re.compile(r'reward ".*" (raised on|could not be imported)')


class ExitCode(IntEnum):
    """Exit codes of every command; docs/reference/cli.md explains them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BACKEND = 3
    PARTLY = 4
    INTERRUPTED = 130
    TERMINATED = 143


SIGNALS = {"SIGINT": ExitCode.INTERRUPTED, "SIGTERM": ExitCode.TERMINATED}
"""Signal that stopped a run -> exit code of the command."""


def exit_code(error: BaseException) -> ExitCode:
    """The exit code that tells what kind of error it was."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, ConfigError | DataError):
        return ExitCode.USAGE
    if isinstance(error, BackendError):
        return ExitCode.BACKEND
    return ExitCode.FAILED


@contextmanager
def reported(ctx: typer.Context) -> Iterator[None]:
    """Turn an exception into a message and an exit code.

    Our own errors say what to do, so their message is enough; ``-v`` adds the traceback. Any other exception comes
    with its traceback, since nobody foresaw it. With ``--json`` the error is an object on stdout.
    """
    try:
        yield
    except (BrokenPipeError, typer.Exit):
        raise  # typer ends the command by these itself
    except KeyboardInterrupt as error:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(exit_code(error)) from error
    except AligntuneError as error:
        if ctx.meta.get(VERBOSE):
            traceback.print_exception(error)
        _print(ctx, error)
        raise typer.Exit(exit_code(error)) from error
    except typer.Abort:
        raise
    except Exception as error:
        if _is_usage(error):
            raise
        traceback.print_exception(error)
        _print(ctx, error)
        raise typer.Exit(ExitCode.FAILED) from error


def _is_usage(error: Exception) -> bool:
    """Whether typer itself prints this error: a wrong option, a missing argument."""
    return hasattr(error, "exit_code") and hasattr(error, "show")


def _notes(error: Exception) -> list[str]:
    """Notes of an error of ours, without the traceback of a worker process, which ``-v`` shows."""
    return [n for n in getattr(error, "__notes__", []) if not n.startswith(WORKER_TRACEBACK)]


def _print(ctx: typer.Context, error: Exception) -> None:
    if ctx.meta.get(JSON):
        about: dict[str, Any] = {
            "type": type(error).__name__,
            "message": str(error),
            "notes": list(getattr(error, "__notes__", [])),
            "exit_code": int(exit_code(error)),
        }
        if isinstance(error, ConfigError):
            about["problems"] = error.problems
        print_json({"error": about})
        return
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    if isinstance(error, AligntuneError):
        typer.echo("\n".join([str(error), *_notes(error)]), err=True)
    else:
        reward = next((n for n in getattr(error, "__notes__", []) if _OF_A_REWARD.match(n)), None)
        whose = (
            f"{reward}. It is the reward's own code that failed"
            if reward
            else "raised by a library or by aligntune itself, not foreseen here"
        )
        typer.echo(
            f"{type(error).__name__} above: {whose}. The last lines of the traceback name the code that raised it.",
            err=True,
        )
    sys.stderr.flush()
