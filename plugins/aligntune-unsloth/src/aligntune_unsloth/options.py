"""``backend_options`` of this backend, and whether training on the CPU was asked for. Light."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

ALLOW_CPU = "ALIGNTUNE_UNSLOTH_ALLOW_CPU"
_TRUE = frozenset({"1", "true", "yes", "on"})


class Options(BaseModel):
    """What only this backend has.

    Attributes:
        allow_cpu: train with Unsloth's own CPU path where there is no GPU. Slow, and without Unsloth's kernels.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    allow_cpu: bool = Field(default=False, description="train on the CPU where there is no GPU")


def cpu_by_environment(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``ALIGNTUNE_UNSLOTH_ALLOW_CPU`` asks for the CPU."""
    return environ.get(ALLOW_CPU, "").strip().lower() in _TRUE


def cpu_allowed(options: Mapping[str, Any]) -> bool:
    """Whether options or environment ask for the CPU."""
    return Options.model_validate(options).allow_cpu or cpu_by_environment()
