"""The environment as it was before a library wrote to it: some set variables at import that every child inherits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Left by an ``import unsloth`` of the user's own; a worker with another backend must not see them.
MARKERS = ("UNSLOTH_IS_PRESENT", "UNSLOTH_PATCHED", "UNSLOTH_ZOO_IS_PRESENT")

_changes: dict[str, tuple[str | None, str | None]] = {}
"""Variable -> its value before, and the one that a library set; any other value since then is the user's own."""


@contextmanager
def recorded_environment() -> Iterator[None]:
    """Remember the earlier value of each variable that changes inside; a plugin puts it around such an import."""
    earlier = dict(os.environ)
    try:
        yield
    finally:
        for name in earlier.keys() | os.environ.keys():
            if earlier.get(name) != os.environ.get(name):
                before, _ = _changes.get(name, (earlier.get(name), None))
                _changes[name] = before, os.environ.get(name)


def clean() -> dict[str, str]:
    """The environment for a worker: the user's own."""
    environ = {name: value for name, value in os.environ.items() if name not in MARKERS}
    for name, (before, after) in _changes.items():
        if os.environ.get(name) != after:
            continue
        if before is None:
            environ.pop(name, None)
        else:
            environ[name] = before
    return environ
