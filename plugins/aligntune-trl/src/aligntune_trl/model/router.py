"""Mixtures of experts: no loss that balances their load, which nobody asked for and other backends lack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def settings_kept(model: Any) -> Iterator[None]:
    """TRL's SFTTrainer writes its coefficient, 0, into the model's configuration, which is saved with the model."""
    settings = model.config.get_text_config()
    coefficient = getattr(settings, "router_aux_loss_coef", None)
    yield
    if coefficient is not None:
        settings.router_aux_loss_coef = coefficient
