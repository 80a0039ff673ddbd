"""Log how long the heavy hooks take. A wrapper runs around whoever answers, and passes the answer on."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aligntune_core import hookimpl

if TYPE_CHECKING:
    from aligntune_core import Engine, LoadedModel, Prepared

logger = logging.getLogger("aligntune.house")


@contextmanager
def timed(hook: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    logger.info("%s took %.2f s", hook, time.perf_counter() - start)


@hookimpl(wrapper=True)
def prepare() -> Generator[None, Prepared, Prepared]:
    with timed("prepare"):
        return (yield)


@hookimpl(wrapper=True)
def load_model() -> Generator[None, LoadedModel, LoadedModel]:
    with timed("load_model"):
        return (yield)


@hookimpl(wrapper=True)
def build_trainer() -> Generator[None, Engine, Engine]:
    with timed("build_trainer"):
        return (yield)
