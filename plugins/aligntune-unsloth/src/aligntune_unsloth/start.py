"""The import of unsloth: once a process, first of all heavy libraries, with its caches in the run's folder."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from aligntune_core.toolkit import BackendUnavailable, cache_folder, recorded_environment

logger = logging.getLogger("aligntune")

COMPILED = "unsloth_compiled_cache"


def start(kind: str, output_dir: str) -> Any:
    """Import unsloth and return the module.

    Args:
        kind: "cuda" or "cpu", as ``device.choose`` has it.
        output_dir: the run folder; what unsloth generates goes to its cache folder.

    Raises:
        BackendUnavailable: unsloth does not accept this machine.
    """
    _set_environment(kind, output_dir)
    with recorded_environment(), spoken():
        try:
            import unsloth
        except NotImplementedError as error:
            raise BackendUnavailable(
                f'backend "unsloth" found a GPU that unsloth cannot use: {error} backend="trl" may.'
            ) from error
        except ImportError as error:
            error.add_note(
                "`aligntune doctor` names what does not go together here, and the command that mends it."
            )
            raise
    loaded = "cpu" if unsloth.DEVICE_TYPE == "cpu" else "cuda"
    if loaded != kind:
        raise BackendUnavailable(
            f'unsloth is loaded in this process for "{unsloth.DEVICE_TYPE}", and this run is for "{kind}". '
            'Start a new process, or give isolation="process".'
        )
    return unsloth


def _set_environment(kind: str, output_dir: str) -> None:
    """What unsloth reads: at its import, but for the statistics. A value that the user has set stays."""
    early = "unsloth" not in sys.modules
    with recorded_environment():
        os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
        if kind == "cpu":
            os.environ["UNSLOTH_FORCE_CPU"] = "1"
        elif early:
            os.environ["UNSLOTH_DISABLE_CPU_FALLBACK"] = "1"
            # Absolute: unsloth puts this folder on sys.path, and by default takes one below the working directory.
            folder = str(cache_folder(output_dir) / COMPILED)
            os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", folder)
        elif "UNSLOTH_COMPILE_LOCATION" not in os.environ:
            logger.warning(
                "unsloth was imported before this run was created, so what it compiles goes to %s in the working "
                "directory; set UNSLOTH_COMPILE_LOCATION before the import to have it elsewhere",
                COMPILED,
            )


class _Lines(io.TextIOBase):
    """Takes what is printed and logs it, line by line."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)

    def finish(self) -> None:
        self._log(self._rest)
        self._rest = ""

    def _log(self, line: str) -> None:
        if line.strip():
            logger.info("unsloth: %s", line.rstrip())


@contextlib.contextmanager
def spoken() -> Iterator[None]:
    """Turn what unsloth prints into log lines: stdout belongs to the caller's own output, JSON perhaps."""
    lines = _Lines()
    with contextlib.redirect_stdout(lines), warnings.catch_warnings():
        # Said by libraries that unsloth imports, of their own code.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            yield
        finally:
            lines.finish()
