"""The environment as it was before a library wrote to it: some set variables at import that every child inherits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# Left by an ``import unsloth`` of the user's own; a worker with another backend must not see them.
MARKERS = ("UNSLOTH_IS_PRESENT", "UNSLOTH_PATCHED", "UNSLOTH_ZOO_IS_PRESENT")

_before: dict[str, str | None] = {}
_written: dict[str, str | None] = {}
"""What a library made of each variable in ``_before``: another value since is the user's own."""


@contextmanager
def recorded() -> Iterator[None]:
    """Remember what each variable was that changes inside; for a plugin to put around such an import."""
    earlier = dict(os.environ)
    try:
        yield
    finally:
        for name in earlier.keys() | os.environ.keys():
            if earlier.get(name) != os.environ.get(name):
                _before.setdefault(name, earlier.get(name))
                _written[name] = os.environ.get(name)


def changed() -> Mapping[str, str | None]:
    """Variable -> its value before a library changed it; None: it was not set."""
    return dict(_before)


def clean() -> dict[str, str]:
    """The environment for a worker: the user's own."""
    found = {name: value for name, value in os.environ.items() if name not in MARKERS}
    for name, value in _before.items():
        if os.environ.get(name) != _written[name]:
            continue
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found
