"""Our own plugins pass the kit. trl and torch share a worker, since neither minds the other; unsloth has its own."""

from __future__ import annotations

import pytest

from aligntune_core.backends.registry import registry
from aligntune_core.testing import BackendConformance

pytestmark = pytest.mark.backend


class TestTrl(BackendConformance):
    backend = "trl"
    process = "trl and torch"


class TestTorch(BackendConformance):
    backend = "torch"
    process = "trl and torch"


@pytest.mark.skipif(registry().row("unsloth").state != "ready", reason="unsloth is not installed here")
class TestUnsloth(BackendConformance):
    backend = "unsloth"
    settings = {"backend_options": {"allow_cpu": True}}  # noqa: RUF012
