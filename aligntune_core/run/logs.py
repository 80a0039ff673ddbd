"""Log lines of a run: shown where nobody set logging up, and all kept in the run's log file.

Libraries' warnings of a short list of known harmless texts are kept out of sight, never out of the file.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger("aligntune")

# Each text is about a library's own internals and says nothing that a user of aligntune could act on.
HARMLESS = (
    r"`?(is_)?gradient_checkpointing`? .*(deprecated|activation_checkpointing)",
    r"torch\.jit\.script_method.* is (deprecated|not supported)",
    r"`torch\.jit\.script(_method)?` is (deprecated|not supported)",
    r"'pin_memory' argument is set as true but no accelerator is found",
    r"You're using a \w+ tokenizer\. Please note that with a fast tokenizer",
    r"Already found a `peft_config` attribute in the model",
)
_HARMLESS = re.compile("|".join(HARMLESS))


def show_by_default() -> None:
    """Print aligntune's own log lines on stderr, unless the program has set logging up itself."""
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("aligntune: %(message)s"))
        logger.addHandler(handler)


@contextmanager
def kept(path: Path | None) -> Iterator[None]:
    """Write all log records and warnings to ``path`` while the block runs; hide the harmless warnings."""
    handler: logging.Handler = logging.NullHandler()
    if path is not None:
        handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    print_warning = warnings.showwarning

    def show(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        words = (category.__name__, message)
        handler.handle(
            logging.LogRecord("warnings", logging.WARNING, filename, lineno, "%s: %s", words, None)
        )
        if not _HARMLESS.search(str(message)):
            print_warning(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = print_warning
        root.removeHandler(handler)
        handler.close()
