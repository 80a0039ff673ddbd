"""Keep the libraries' own bars and one known notice out of sight, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def known_warnings_hidden() -> Iterator[None]:
    """Hide transformers' notice of an argument's new name: TRL and peft still use the old one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        yield


@contextmanager
def no_bars() -> Iterator[None]:
    """No progress bars while weights are read and written and TRL tokenises; core draws its own."""
    import datasets
    from transformers.utils import logging

    tokenising, weights = datasets.is_progress_bar_enabled(), logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if tokenising:
            datasets.enable_progress_bars()
        if weights:
            logging.enable_progress_bar()
